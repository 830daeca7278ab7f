"""Scores queries that show something else than the index holds of them."""

from typing import Any

import numpy as np

from item_jax.evaluation import metrics
from item_jax.evaluation.items import Items
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.retrieval import LISTED, Scores, score_found
from item_jax.evaluation.search import search

MEASURES = ("recall@10", "map@10")


def score_changed(
  queries_MD: np.ndarray,
  index_ND: np.ndarray,
  items: Items,
  *,
  rows_M: np.ndarray | None = None,
) -> Scores:
  """Searches changed listings in an index of the listings as they are.

  A query's own listing is taken out of what it finds. Where nothing is
  changed the scores are those of `retrieval.score`, to the bit.

  Args:
    queries_MD: float, M of the N listings, changed.
    index_ND: float, all of them.
    items: of all N.
    rows_M: which listings the queries are; None: all, in their order.

  Raises:
    UserError: no query has another listing of its product, or a vector has no
      direction.
  """
  N = len(items.ids)
  rows_M = np.arange(N) if rows_M is None else rows_M
  M = len(rows_M)
  # Queries stand behind the index under names that no listing has; one result
  # more is found, as each finds the listing that it was, which is taken out.
  found = search(
    np.concatenate([index_ND, queries_MD]).astype(np.float32),
    [*items.ids, *(f"\n{row}" for row in range(M))],
    k=LISTED + 1,
    queries=np.arange(N, N + M),
    index=np.arange(N),
  )
  own_MK = found.rows_QK == rows_M[:, None]
  # A stable sort of False before True: what is left keeps its order.
  order_MK = np.argsort(own_MK, axis=1, kind="stable")
  last_MK = np.take_along_axis(own_MK, order_MK, axis=1)
  rows_MK = np.take_along_axis(found.rows_QK, order_MK, axis=1)
  scores_MK = np.take_along_axis(found.scores_QK, order_MK, axis=1)
  rows_MK = np.where(last_MK, -1, rows_MK)[:, :LISTED]
  roles = np.full(N, "index", dtype=object)
  roles[rows_M] = "both"
  return score_found(
    Neighbours(rows_MK, scores_MK[:, :LISTED]),
    items._replace(roles=roles.tolist()),
    k=LISTED,
    bootstrap=0,
  )


def figures(
  scores: Scores,
  unchanged: Scores | None = None,
  *,
  bootstrap: int = 1000,
  seed: int = 0,
) -> dict[str, dict[str, Any]]:
  """Recall@10 and MAP@10, each with " drop" where there is something to drop.

  Args:
    unchanged: scores of the same queries.
    bootstrap: resamples of the products for the intervals; 0: none.

  Returns:
    {name: {"value": mean over queries, "interval": [low, high] or None}}.
  """
  values = {name: scores.values[name] for name in MEASURES}
  if unchanged is not None:
    for name in MEASURES:
      values[f"{name} drop"] = unchanged.values[name] - values[name]
  assert scores.items is not None  # `score_changed` knows them
  products = [scores.items.products[row] for row in scores.rows_Q.tolist()]
  intervals = {}
  if bootstrap:
    intervals = metrics.intervals(
      values, products, resamples=bootstrap, seed=seed
    )
  return {
    name: {"value": value, "interval": intervals.get(name)}
    for name, value in metrics.mean(values).items()
  }
