"""Lets the processes of a run work apart and meet: work for each in, the
results of all out, and an error in all where one failed."""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax.distributed import cluster
from item_jax.errors import UserError
from item_jax.evaluation.ranking import Neighbours

_KEYS = "item_jax/hosts"
_FAILED = f"{_KEYS}/failed"
# Work is shared out evenly, so nobody waits for more than part of it.
_PATIENCE = 6 * 3600  # s
_meetings = itertools.count()  # all processes meet equally often


class ElsewhereError(RuntimeError):
  """Another process failed; the message says which and with what."""


def together(work: Callable[[], Any], *, first: bool = False) -> Any:
  """Calls `work` in every process and returns when it is done in all.

  Args:
    first: process 0 alone does it; all get its result, a value of JSON.

  Raises:
    ElsewhereError: it failed in another process, or one did not come.
    What `work` raises.
  """
  store = cluster.store()
  if store is None:
    return work()
  me, key = jax.process_index(), f"{_KEYS}/{next(_meetings)}"
  result = None
  if me == 0 or not first:
    try:
      result = work()
    except ElsewhereError:  # those who failed have said so
      raise
    except (UserError, OSError, RuntimeError, ValueError) as error:
      store.key_value_set(f"{_FAILED}/{me}", str(error), allow_overwrite=True)
      raise
  store.key_value_set(f"{key}/{me}", json.dumps(result if first else None))
  found = _meet(store, key)
  return found[0] if first else result


def _meet(store, key: str) -> list:
  """What each process said under this key, once all have."""
  deadline = time.monotonic() + _PATIENCE
  pause = 0.01
  while True:
    for name, why in store.key_value_dir_get(_FAILED):
      raise ElsewhereError(f"process {_process(name)} failed: {why}")
    said = {_process(name): x for name, x in store.key_value_dir_get(key)}
    late = sorted(set(range(jax.process_count())) - said.keys())
    if not late:
      return [json.loads(text) for _, text in sorted(said.items())]
    if time.monotonic() > deadline:
      raise ElsewhereError(f"processes {late} did not come in {_PATIENCE} s")
    time.sleep(pause)
    pause = min(1, 2 * pause)


def _process(key: str) -> int:
  return int(key.rpartition("/")[2])


def share(count: int) -> slice:
  """The part of `count` rows that is this process's: contiguous."""
  size = -(-count // jax.process_count())
  first = min(jax.process_index() * size, count)
  return slice(first, min(first + size, count))


def gather(values: list) -> list:
  """The lists (values of JSON) of all processes, one after the other."""
  if jax.process_count() == 1:
    return values
  data = np.frombuffer(json.dumps(values).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(len(data)))
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: len(data)] = data
  found = multihost_utils.process_allgather(padded)
  return [
    value
    for row, size in zip(found, sizes, strict=True)
    for value in json.loads(row[:size].tobytes())
  ]


def divided(search: Callable[..., Neighbours]) -> Callable[..., Neighbours]:
  """A search whose queries are shared out over the processes.

  It takes and gives what `search` does, the whole result in every process;
  all processes must call it alike.
  """
  if jax.process_count() == 1:
    return search

  def search_share(vectors_ND, ids, *, k, queries=None, index=None, **options):
    queries = np.arange(len(ids)) if queries is None else queries
    mine = queries[share(len(queries))]
    found = together(
      lambda: search(vectors_ND, ids, k=k, queries=mine, index=index, **options)
    )
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

  return search_share


def told(
  search: Callable[..., Neighbours],
  at: Callable[[str, int], None],
  *,
  at_once: int,
) -> Callable[..., Neighbours]:
  """The same search, `at_once` queries after the other; `at` is told
  ("evaluation", query) before each part."""

  def search_parts(vectors_ND, ids, *, queries, **options):
    found = []
    for first in range(0, max(len(queries), 1), at_once):
      at("evaluation", first)
      part = queries[first : first + at_once]
      found.append(search(vectors_ND, ids, queries=part, **options))
    return Neighbours(*map(np.concatenate, zip(*found, strict=True)))

  return search_parts
