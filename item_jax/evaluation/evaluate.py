"""Scores files: an export, or an .npy and a CSV, in; a table for people, JSON
and a line a query out."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from item_jax.data.summary import describe_missing
from item_jax.errors import UserError
from item_jax.evaluation.items import (
  Items,
  open_embeddings,
  open_export,
  read_listed,
)
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.retrieval import LISTED, Scored, score
from item_jax.evaluation.search import search
from item_jax.files import check_folders
from item_jax.ingest.plausible import find_outsized
from item_jax.ingest.readers.cells import MISSING


def evaluate_export(folder: Path, **options) -> dict:
  """Scores a finished export folder; options as of `evaluate`."""
  return evaluate(*open_export(folder), **options)


def evaluate_files(
  embeddings: Path,
  items: Path,
  *,
  missing: Sequence[str] = MISSING,
  report: bool = True,
  **options,
) -> dict:
  """Scores any .npy of embeddings with a table of items.

  Args:
    embeddings: .npy, float [N, D], one row an item.
    items: a CSV, or what else `prepare` reads, with the columns id, product
      and optionally category and role.
    missing: words that stand for a missing value.
    report, options: as of `evaluate`.
  """
  listed, words = read_listed(items, missing)
  if report:
    for line in [*describe_missing(words), *_describe_outsized(listed)]:
      print(line)
  vectors_ND = open_embeddings(embeddings, listed.ids)
  return evaluate(vectors_ND, listed, report=report, **options)


def _describe_outsized(items: Items) -> list[str]:
  """A warning for each product that holds too many rows to be one."""
  sizes = Counter(filter(None, items.products))
  products = list(sizes)
  found = find_outsized(np.fromiter(sizes.values(), np.int64))
  return [
    f"warning: product {products[at]!r} holds {sizes[products[at]]:,} of"
    f" {len(items.ids):,} rows: is it a word for a missing id?"
    for at, outsized in found.items()
    if outsized.implausible(products[at], counted="1" in sizes)
  ]


def evaluate(
  vectors_ND: np.ndarray,
  items: Items,
  *,
  ks: Sequence[int] = (1, 5, 10),
  json_path: Path | None = None,
  per_query: Path | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
  search: Callable[..., Neighbours] = search,
  report: bool = True,
) -> dict:
  """Scores same-product search; prints the table.

  Args:
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
  check_folders(json_path, per_query)
  if bootstrap < 1:
    raise UserError(f"{bootstrap} resamples; expected 1 or more")
  if report and vectors_ND.dtype != np.float32:
    print(f"embeddings are {vectors_ND.dtype}; computed in float32")
  scored = score(
    vectors_ND, items, ks=ks, bootstrap=bootstrap, seed=seed, search=search
  )
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
