"""Scores queries that show something else than the index holds of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.agreement import (
  check_one_space,
  check_same_rows,
  shared_roles,
)
from item_jax.evaluation.items import Items, check_items
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.retrieval import (
  LISTED,
  Scores,
  results_needed,
  score_found,
)
from item_jax.evaluation.search import search
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.vectors import Mixed, all_same, lengths
from item_jax.ingest.readers.cells import MISSING

MEASURES = ("recall@10", "map@10")


def score_changed(
  queries_MD: np.ndarray,
  index_ND: np.ndarray,
  items: Items,
  *,
  rows_M: np.ndarray | None = None,
  k: int | Sequence[int] = LISTED,
  bootstrap: int = 0,
  seed: int = 0,
) -> Scores:
  """Searches changed listings in an index of the listings as they are.

  A query's own listing is taken out of what it finds. Where nothing is
  changed the scores are those of `retrieval.score`, to the bit.

  Args:
    queries_MD: float, M of the N listings, changed.
    index_ND: float, all of them.
    items: of all N.
    rows_M: which listings the queries are, and all are searched; None: all in
      their order, or what the items' roles say.
    k, bootstrap, seed: as of `retrieval.score`.

  Raises:
    UserError: no query has another listing of its product, or a vector has no
      direction.
  """
  N = len(items.ids)
  if rows_M is not None:
    roles = np.full(N, "index", dtype=object)
    roles[rows_M] = "both"
    items = items._replace(roles=roles.tolist())
  else:
    rows_M = items.rows("query")
    queries_MD = queries_MD[rows_M]
  M, index = len(rows_M), items.rows("index")
  listed = results_needed(k, index)
  # Queries stand behind the index under names that no listing has; one result
  # more is found, as each finds the listing that it was, which is taken out.
  found = search(
    np.concatenate([np.asarray(x, np.float32) for x in (index_ND, queries_MD)]),
    [*items.ids, *(f"\n{row}" for row in range(M))],
    k=listed + 1,
    queries=np.arange(N, N + M),
    index=index,
  )
  own_MK = found.rows_QK == rows_M[:, None]
  # A stable sort of False before True: what is left keeps its order.
  order_MK = np.argsort(own_MK, axis=1, kind="stable")
  last_MK = np.take_along_axis(own_MK, order_MK, axis=1)
  rows_MK = np.take_along_axis(found.rows_QK, order_MK, axis=1)
  scores_MK = np.take_along_axis(found.scores_QK, order_MK, axis=1)
  rows_MK = np.where(last_MK, -1, rows_MK)[:, :listed]
  return score_found(
    Neighbours(rows_MK, scores_MK[:, :listed]),
    items,
    k=k,
    bootstrap=bootstrap,
    seed=seed,
  )


def score_across(
  queries: Any,
  index: Any,
  *,
  k: int | Sequence[int] = (1, 5, 10),
  bootstrap: int = 1000,
  seed: int = 0,
  missing: str | Sequence[str] = MISSING,
  data: Any = None,
  split: str = "test",
) -> Scores:
  """Scores queries of one source in the index of another.

  Both are of the same listings in one space: titles in images, for instance,
  or images in whole listings. A query's own listing is never what it finds.

  Args:
    queries, index: as of `sources.open_source`; dense vectors.
    k, bootstrap, seed, missing, data, split: as of `retrieval.score`.

  Raises:
    UserError: other listings, other widths, exports of other weights or
      transforms, or nothing that both show; and as `retrieval.score`.
  """
  metrics.check_draws(seed=seed, bootstrap=bootstrap)
  how: dict[str, Any] = {"missing": missing, "data": data, "split": split}
  asked, held = open_source(queries, **how), open_source(index, **how)
  asked = replace(asked, name=f"queries {asked.name}")
  held = replace(held, name=f"index {held.name}")
  check_same_rows(asked.name, asked.items, held.name, held.items)
  roles = shared_roles((one.name, one.items) for one in (asked, held))
  items = held.items._replace(roles=roles)
  check_items(items, held.name)
  vectors_ND = []
  for source, role in ((asked, "query"), (held, "index")):
    name, of_role_N = source.name, np.zeros(len(items.ids), bool)
    if isinstance(source.vectors, Mixed):
      raise UserError(f"{name} has a sparse part; expected dense vectors")
    of_role_N[items.rows(role)] = True
    lengths(source.vectors, items.ids, source=name, has_N=of_role_N)
    vectors_ND.append(np.asarray(source.vectors))
  check_one_space(asked, held)
  query_ND, index_ND = vectors_ND
  if only_ids_rank(
    query_ND[items.rows("query")], index_ND[items.rows("index")]
  ):
    raise UserError(
      f"all cosines of {asked.name} with {held.name} are equal, as where the"
      " two show sides that the model compares by values of their own: only ids"
      " would rank the listings"
    )
  return score_changed(
    query_ND, index_ND, items, k=k, bootstrap=bootstrap, seed=seed
  )


def only_ids_rank(queries_MD: np.ndarray, index_ND: np.ndarray) -> bool:
  """Whether each query is as near to all of the index: ids alone rank it.

  So it is where the index is one vector, or where no query has a value other
  than zero in a column in which a listing has one.
  """
  used_QD, used_ID = queries_MD != 0, index_ND != 0
  return all_same(index_ND) or not (used_QD.any(0) & used_ID.any(0)).any()


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
  intervals = metrics.intervals(
    values, scores.products, resamples=bootstrap, seed=seed
  )
  return {
    name: {"value": value, "interval": intervals.get(name)}
    for name, value in metrics.mean(values).items()
  }
