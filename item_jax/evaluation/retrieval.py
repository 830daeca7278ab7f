"""Scores same-product search: how many listings of a product are found."""

import csv
import logging
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.difference import Difference, compare
from item_jax.evaluation.items import Items, check_items
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.results import Result
from item_jax.evaluation.search import search
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.vectors import Mixed, check_differ
from item_jax.files import whole_file
from item_jax.ingest.readers.cells import MISSING

logger = logging.getLogger(__name__)

LISTED = 10  # nearest ids written for each query


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Result):
  """How well the same product is found, over the queries that can find it.

  summary: queries, left_out (queries without another listing of their product
    in the index), index (rows searched), share_over_k (fraction of queries with
    more relevant listings than the largest k), each measure as "recall@10"
    (means over queries), and the same by_category, by_product (means over
    groups of the means in them) and interval (95 %, by bootstrap over
    products).
  values: {measure: float64 [Q]}, of each query.
  rows_Q: row numbers of the queries. relevant_Q: relevant listings of each.
  nearest_QK: row numbers, best first, -1 where there are no more. cosine_QK:
    float32, theirs, -inf there.
  items: the rows that were scored. space: as of `Export`.
  """

  summary: dict[str, Any]
  values: dict[str, np.ndarray]
  rows_Q: np.ndarray
  relevant_Q: np.ndarray
  nearest_QK: np.ndarray
  cosine_QK: np.ndarray
  items: Items
  space: str = ""

  @property
  def products(self) -> list[str]:
    """The product of each query."""
    return [self.items.products[row] for row in self.rows_Q.tolist()]

  def to_dict(self) -> dict[str, Any]:
    """Returns `summary`."""
    return self.summary

  def compare(
    self, other: "Scores", *, bootstrap: int = 1000, seed: int = 0
  ) -> Difference:
    """Compares with another system on the same queries, this less the other.

    Args:
      bootstrap: resamples of products. seed: of them.

    Raises:
      UserError: the other measured other things, other queries, or searched
        other listings.
    """
    return compare(self, other, bootstrap=bootstrap, seed=seed)

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each measure and depth."""
    lines = []
    for name in self.values:
      measure, _, depth = name.partition("@")
      low, high = self.summary["interval"].get(name, (None, None))
      lines.append(
        {
          "measure": measure,
          "k": int(depth),
          "by_query": self.summary[name],
          "low": low,
          "high": high,
          "by_category": (self.summary["by_category"] or {}).get(name),
          "by_product": self.summary["by_product"][name],
        }
      )
    return lines

  def __str__(self) -> str:
    summary, rows = self.summary, self.rows()
    lines = [
      f"{summary['queries']:,} queries, {summary['left_out']:,} left out (no"
      f" other item of their product), index {summary['index']:,},"
      f" {summary['share_over_k']:.1%} with more than {rows[-1]['k']} relevant"
      " items",
      f"{'':16}{'by query':>9}  {'95 % interval':15}"
      f"{'by category':>12}{'by product':>12}",
    ]
    for row in rows:
      interval, category = "-", "-"
      if row["low"] is not None:
        interval = f"{row['low']:.4f}..{row['high']:.4f}"
      if row["by_category"] is not None:
        category = f"{row['by_category']:.4f}"
      name = f"{row['measure']}@{row['k']}"
      lines.append(
        f"{name:16}{row['by_query']:9.4f}  {interval:15}"
        f"{category:>12}{row['by_product']:12.4f}"
      )
    if self.space:
      lines.append(self.space)
    return "\n".join(lines)

  def write_per_query(self, path: str | Path) -> None:
    """Writes a CSV, a line for each query: its measures and nearest ids."""
    items = self.items
    names = ["id", "product", "category", "relevant", *self.values]
    names += [f"top_{rank}" for rank in range(1, LISTED + 1)]
    with whole_file(path, text=True) as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(names)
      for query, row in enumerate(self.rows_Q.tolist()):
        near = self.nearest_QK[query, :LISTED].tolist()
        writer.writerow(
          [items.ids[row], items.products[row], items.category(row)]
          + [int(self.relevant_Q[query])]
          + [repr(float(value_Q[query])) for value_Q in self.values.values()]
          + [items.ids[other] if other >= 0 else "" for other in near]
        )


def score(
  vectors: Any,
  items: Any = None,
  *,
  k: int | Sequence[int] = (1, 5, 10),
  bootstrap: int = 1000,
  seed: int = 0,
  missing: str | Sequence[str] = MISSING,
  data: Any = None,
  split: str = "test",
  search: Callable[..., Neighbours] = search,
) -> Scores:
  """Searches every query by cosine and scores what was found.

  Args:
    vectors: float [N, D], one row an item; or an .npy's path; or an export
      (its folder or an `Export`), a `Fusion`, "FILE.npy:ITEMS.csv", "tfidf" or
      "thumbnail", as `sources.open_source` takes them.
    items: what the rows are: an export (its folder or an `Export`), or a table
      (its file, a data frame, {column: values} or rows) with the columns id,
      product and optionally category and role; None: the export's own.
    k: depths of the measures.
    bootstrap: resamples for the intervals; 0: none.
    seed: of the resamples.
    missing: words of the table that stand for a missing value.
    data: the prepared catalogue of "tfidf" and "thumbnail". split: of it.
    search: finds the nearest rows, as `search.search` does.

  Raises:
    UserError: no query has a relevant item, a row has no direction, all rows
      are one vector, or the items or a depth are not what is expected.
  """
  depths = _depths(k)
  metrics.check_draws(seed=seed, bootstrap=bootstrap)
  source = open_source(vectors, items, data=data, split=split, missing=missing)
  check_items(source.items)
  check_differ(source.vectors, source.name)
  scores = score_vectors(
    source.vectors,
    source.items,
    k=depths,
    bootstrap=bootstrap,
    seed=seed,
    search=search,
  )
  return replace(scores, space=source.space)


def score_vectors(
  vectors: np.ndarray | Mixed,
  items: Items,
  *,
  k: int | Sequence[int] = LISTED,
  bootstrap: int = 0,
  seed: int = 0,
  search: Callable[..., Neighbours] = search,
) -> Scores:
  """Scores as `score` does, also where all rows are one vector.

  For what is tried on validation: a part without any weight, for instance.
  """
  depths = _depths(k)
  if not isinstance(vectors, Mixed) and vectors.dtype != np.float32:
    logger.info(f"embeddings are {vectors.dtype}; computed in float32")
  index = items.rows("index")
  found = search(
    vectors,
    items.ids,
    k=results_needed(depths, index),
    queries=items.rows("query"),
    index=index,
  )
  return score_found(found, items, k=depths, bootstrap=bootstrap, seed=seed)


def score_found(
  found: Neighbours,
  items: Items,
  *,
  k: int | Sequence[int] = (1, 5, 10),
  bootstrap: int = 1000,
  seed: int = 0,
) -> Scores:
  """Scores given neighbours of `items.rows("query")`, however found.

  A query without a relevant item in the index is left out and counted.

  Raises:
    UserError: no query has a relevant item, or a depth is not positive.
  """
  depths = _depths(k)
  rows_Q, index = items.rows("query"), items.rows("index")
  number_N = _numbers(items.products)
  relevant_Q = _count_relevant(items, number_N, rows_Q, index)
  scored_Q = relevant_Q > 0
  if not scored_Q.any():
    raise UserError(
      f"none of {len(rows_Q)} queries has another item of its product among"
      f" the {len(index)} of the index: there is nothing to score"
    )
  rows_Q, relevant_Q = rows_Q[scored_Q], relevant_Q[scored_Q]
  nearest_QK = found.rows_QK[scored_Q]
  hits_QK = number_N[nearest_QK] == number_N[rows_Q][:, None]
  hits_QK &= nearest_QK >= 0
  values = metrics.measure(hits_QK, relevant_Q, depths)
  product_Q = [items.products[row] for row in rows_Q.tolist()]
  summary = {
    "queries": len(rows_Q),
    "left_out": int((~scored_Q).sum()),
    "index": len(index),
    "share_over_k": float((relevant_Q > depths[-1]).mean()),
    **metrics.mean(values),
    "by_category": _by_category(values, items, rows_Q),
    "by_product": metrics.mean_by(values, product_Q),
    "interval": metrics.intervals(
      values, product_Q, resamples=bootstrap, seed=seed
    ),
  }
  cosine_QK = found.scores_QK[scored_Q]
  return Scores(
    summary, values, rows_Q, relevant_Q, nearest_QK, cosine_QK, items
  )


def results_needed(k: int | Sequence[int], index: np.ndarray) -> int:
  """How many results a query needs; no more than there are rows."""
  return max(LISTED, min(max(_depths(k)), len(index)))


def _depths(k: int | Sequence[int]) -> list[int]:
  """The depths, each once, ascending."""
  try:
    depths = [*map(operator.index, np.atleast_1d(np.asarray(k, object)))]
  except TypeError:
    depths = []
  if not depths or min(depths) < 1:
    raise UserError(f"depths are {k!r}; expected whole numbers from 1")
  return sorted(set(depths))


def _count_relevant(items, number_N, rows_Q, index):
  """|R| of each query: the index's rows of its product, but itself."""
  held = np.bincount(number_N[index], minlength=len(number_N))
  inside_N = np.zeros(len(number_N), int)
  inside_N[index] = 1
  # Of no product: nothing is known to be the same.
  known_N = np.array([bool(product) for product in items.products])
  return known_N[rows_Q] * (held[number_N[rows_Q]] - inside_N[rows_Q])


def _numbers(names):
  """Equal numbers for equal names."""
  numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
  return np.array([numbers[name] for name in names])


def _by_category(values, items, rows_Q):
  """Means by leaf category over the queries that have one, or None."""
  category_Q = [items.category(row) for row in rows_Q]
  known_Q = np.array([bool(category) for category in category_Q])
  if not known_Q.any():
    return None
  return metrics.mean_by(
    {name: value_Q[known_Q] for name, value_Q in values.items()},
    [category for category in category_Q if category],
  )
