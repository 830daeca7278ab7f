"""Scores same-product search: embeddings and items in, measures out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.items import Items, check_embeddings, check_items
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
  index = items.rows("index")
  found = search(
    vectors_ND,
    items.ids,
    k=results_needed(ks, index),
    queries=items.rows("query"),
    index=index,
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


def results_needed(ks: Sequence[int], index: np.ndarray) -> int:
  """How many results a query: no more than there are, whatever is asked."""
  return max(LISTED, min(max(ks), len(index)))


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
