"""Divides the queries of a search among processes, and into parts."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax.distributed.barrier import Barrier, own_part
from item_jax.evaluation.ranking import Neighbours

Search = Callable[..., Neighbours]


def divided(search: Search) -> Search:
  """Returns a search whose queries are divided among the processes.

  It takes what `search` does, and returns the whole result in every process;
  all processes must call it alike.
  """
  if jax.process_count() == 1:
    return search

  def search_part(vectors_ND, ids, *, k, queries=None, index=None, **options):
    queries = np.arange(len(ids)) if queries is None else queries
    mine = queries[own_part(len(queries))]
    with Barrier() as barrier:
      found = search(vectors_ND, ids, k=k, queries=mine, index=index, **options)
      barrier.wait()
    # Arrays of one shape for all; without 64 bits, which jax has not here.
    size = -(-len(queries) // jax.process_count())
    rows_QK = np.full((size, k), -1, np.int32)
    scores_QK = np.full((size, k), -np.inf, np.float32)
    rows_QK[: len(mine)], scores_QK[: len(mine)] = found
    rows_PQK, scores_PQK = multihost_utils.process_allgather(
      (rows_QK, scores_QK)
    )
    return Neighbours(
      rows_PQK.reshape(-1, k)[: len(queries)].astype(np.int64),
      scores_PQK.reshape(-1, k)[: len(queries)],
    )

  return search_part


def in_parts(
  search: Search, notify: Callable[[str, int], None], *, at_once: int
) -> Search:
  """Returns the same search, made of parts of `at_once` queries each.

  `notify` is called with ("evaluation", query) before each part.
  """

  def search_parts(vectors_ND, ids, *, queries, **options):
    found = []
    for first in range(0, max(len(queries), 1), at_once):
      notify("evaluation", first)
      part = queries[first : first + at_once]
      found.append(search(vectors_ND, ids, queries=part, **options))
    rows_QK, scores_QK = map(np.concatenate, zip(*found, strict=True))
    return Neighbours(rows_QK, scores_QK)

  return search_parts
