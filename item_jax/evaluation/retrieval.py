"""Scores same-product search: embeddings and items in, measures out."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.items import (
  Items,
  check_embeddings,
  check_items,
  open_embeddings,
  open_export,
  read_items,
)
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.search import search

LISTED = 10  # nearest ids written for each query


class Scored(NamedTuple):
  """One system's answers to the queries that have a relevant item."""

  summary: dict  # what is printed and written as JSON
  values: dict[str, np.ndarray]  # measure -> float64 [Q]
  rows_Q: np.ndarray  # row numbers of these queries
  relevant_Q: np.ndarray  # |R|
  nearest_QK: np.ndarray  # row numbers, best first, -1 where there are no more


def evaluate_export(
  folder: Path,
  *,
  ks: Sequence[int] = (1, 5, 10),
  json_path: Path | None = None,
  per_query: Path | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
  search: Callable[..., Neighbours] = search,
  report: bool = True,
) -> dict:
  """Scores a finished export folder; see `evaluate_files`."""
  return _evaluate(
    *open_export(folder),
    ks=ks,
    json_path=json_path,
    per_query=per_query,
    bootstrap=bootstrap,
    seed=seed,
    search=search,
    report=report,
  )


def evaluate_files(
  embeddings: Path,
  items: Path,
  *,
  ks: Sequence[int] = (1, 5, 10),
  json_path: Path | None = None,
  per_query: Path | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
  search: Callable[..., Neighbours] = search,
  report: bool = True,
) -> dict:
  """Scores any .npy of embeddings with a CSV of items; prints the table.

  Args:
    embeddings: .npy, float [N, D], one row an item.
    items: CSV with the columns id, product and optionally category and role.
    ks: depths of the measures.
    json_path: where the summary is written, if anywhere.
    per_query: where each query's measures and nearest ids are written (CSV).
    bootstrap: resamples for the intervals.
    seed: of the resamples.
    search: finds the nearest rows, as `search.search` does.
    report: prints and writes; False where another process does.

  Returns:
    The summary, as written to `json_path`.
  """
  table = read_items(items)
  return _evaluate(
    open_embeddings(embeddings, table.ids),
    table,
    ks=ks,
    json_path=json_path,
    per_query=per_query,
    bootstrap=bootstrap,
    seed=seed,
    search=search,
    report=report,
  )


def score(
  vectors_ND: np.ndarray,
  items: Items,
  *,
  ks: Sequence[int] = (10,),
  bootstrap: int = 1000,
  seed: int = 0,
  search: Callable[..., Neighbours] = search,
) -> Scored:
  """Searches every query of `items` by cosine and scores what was found.

  Args:
    search: finds the nearest rows, as `search.search` does.
  """
  ks = _depths(ks)
  check_items(items)
  check_embeddings(vectors_ND, items.ids)
  found = search(
    vectors_ND,
    items.ids,
    k=max(LISTED, *ks),
    queries=items.rows("query"),
    index=items.rows("index"),
  )
  return score_found(found, items, ks=ks, bootstrap=bootstrap, seed=seed)


def score_found(
  found: Neighbours,
  items: Items,
  *,
  ks: Sequence[int] = (10,),
  bootstrap: int = 1000,
  seed: int = 0,
) -> Scored:
  """Scores given neighbours of `items.rows("query")`, however found.

  A query without a relevant item in the index is left out and counted.

  Raises:
    UserError: no query has a relevant item, or a depth is not positive.
  """
  ks = _depths(ks)
  rows_Q, index = items.rows("query"), items.rows("index")
  relevant_Q = _relevant(items, rows_Q, index)
  asked_Q = relevant_Q > 0
  if not asked_Q.any():
    raise UserError(
      f"none of {len(rows_Q)} queries has another item of its product among"
      f" the {len(index)} of the index: there is nothing to score"
    )
  rows_Q, relevant_Q = rows_Q[asked_Q], relevant_Q[asked_Q]
  nearest_QK = found.rows_QK[asked_Q]
  number_N = _numbers(items.products)
  hits_QK = number_N[nearest_QK] == number_N[rows_Q][:, None]
  hits_QK &= nearest_QK >= 0
  values = metrics.measure(hits_QK, relevant_Q, ks)
  product_Q = [items.products[row] for row in rows_Q]
  summary = {
    "queries": len(rows_Q),
    "left_out": int((~asked_Q).sum()),
    "index": len(index),
    "share_over_k": float((relevant_Q > ks[-1]).mean()),
    **metrics.mean(values),
    "by_category": _by_category(values, items, rows_Q),
    "by_product": metrics.mean_by(values, product_Q),
    "interval": metrics.intervals(
      values, product_Q, resamples=bootstrap, seed=seed
    )
    if bootstrap
    else {},
  }
  return Scored(summary, values, rows_Q, relevant_Q, nearest_QK)


def write_per_query(path: Path, items: Items, scored: Scored) -> None:
  """Writes one CSV line for each query: its measures and its nearest ids."""
  names = ["id", "product", "category", "relevant", *scored.values]
  names += [f"top_{rank}" for rank in range(1, LISTED + 1)]
  with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for query, row in enumerate(scored.rows_Q.tolist()):
      near = scored.nearest_QK[query, :LISTED].tolist()
      category = items.categories[row] if items.categories else ""
      writer.writerow(
        [items.ids[row], items.products[row], category]
        + [int(scored.relevant_Q[query])]
        + [repr(float(value_Q[query])) for value_Q in scored.values.values()]
        + [items.ids[other] if other >= 0 else "" for other in near]
      )


def _evaluate(
  vectors_ND, items, *, ks, json_path, per_query, bootstrap, report, **options
):
  for path in (json_path, per_query):  # now, not after the search
    if path and not Path(path).parent.is_dir():
      raise FileNotFoundError(f"{path}: there is no folder to write it to")
  if bootstrap < 1:
    raise UserError(f"{bootstrap} resamples; expected 1 or more")
  if report and vectors_ND.dtype != np.float32:
    print(f"embeddings are {vectors_ND.dtype}; computed in float32")
  scored = score(vectors_ND, items, ks=ks, bootstrap=bootstrap, **options)
  if not report:
    return scored.summary
  print(table(scored.summary))
  if json_path:
    text = json.dumps(scored.summary, indent=2) + "\n"
    Path(json_path).write_text(text, "utf-8")
  if per_query:
    write_per_query(per_query, items, scored)
  return scored.summary


def table(summary: dict) -> str:
  """The summary for people: one line a measure and depth."""
  names = list(summary["interval"])
  depth = names[-1].rpartition("@")[2]
  lines = [
    f"{summary['queries']:,} queries, {summary['left_out']:,} left out (no"
    f" other item of their product), index {summary['index']:,},"
    f" {summary['share_over_k']:.1%} with more than {depth} relevant items",
    f"{'':16}{'by query':>9}  {'95 % interval':15}"
    f"{'by category':>12}{'by product':>12}",
  ]
  for name in names:
    low, high = summary["interval"][name]
    category = summary["by_category"]
    by_category = f"{category[name]:.4f}" if category else "-"
    lines.append(
      f"{name:16}{summary[name]:9.4f}  {low:.4f}..{high:.4f} "
      f"{by_category:>12}{summary['by_product'][name]:12.4f}"
    )
  return "\n".join(lines)


def _depths(ks):
  """The depths, each once, ascending."""
  if not ks or min(ks) < 1:
    raise UserError(f"depths are {list(ks)}; expected whole numbers from 1")
  return sorted(set(ks))


def _relevant(items, rows_Q, index):
  """|R| of each query: the index's rows of its product, but itself."""
  held = Counter(items.products[row] for row in index.tolist())
  held[""] = 0  # of no product: nothing is known to be the same
  inside = set(index.tolist())
  return np.array(
    [
      max(0, held[items.products[row]] - (row in inside))
      for row in rows_Q.tolist()
    ]
  )


def _numbers(names):
  """Equal numbers for equal names."""
  numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
  return np.array([numbers[name] for name in names])


def _by_category(values, items, rows_Q):
  """Means by leaf category over the queries that have one, or None."""
  category_Q = [
    items.categories[row] if items.categories else "" for row in rows_Q
  ]
  known_Q = np.array([bool(category) for category in category_Q])
  if not known_Q.any():
    return None
  return metrics.mean_by(
    {name: value_Q[known_Q] for name, value_Q in values.items()},
    [category for category in category_Q if category],
  )
