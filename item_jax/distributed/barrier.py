"""Lets the processes of a run wait for each other, and fail together."""

import itertools
import json
import time
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax.distributed import cluster
from item_jax.errors import UserError

_KEYS = "item_jax/hosts"
_FAILED = f"{_KEYS}/failed"
# Work is divided evenly, so nobody waits for longer than a part of it takes.
_TIMEOUT = 6 * 3600  # s
_meetings = itertools.count()  # all processes meet equally often


class OtherProcessError(RuntimeError):
  """Another process failed; the message says which and with what."""


class Barrier:
  """Where all processes wait for each other; they fail where one fails.

  What is raised within `with Barrier() as barrier:` is raised in the other
  processes too, as OtherProcessError, when they next wait.
  """

  def __enter__(self) -> Self:
    self._store = cluster.store()  # None: there is one process only
    return self

  def __exit__(self, kind, error, traceback) -> None:
    if self._store is None or isinstance(error, OtherProcessError):
      return
    if isinstance(error, (UserError, OSError, RuntimeError, ValueError)):
      self._store.key_value_set(
        f"{_FAILED}/{jax.process_index()}", str(error), allow_overwrite=True
      )

  def wait(self) -> None:
    """Returns when all processes wait.

    Raises:
      OtherProcessError: another process failed, or did not come.
    """
    self.broadcast(None)

  def broadcast(self, value: Any) -> Any:
    """Waits as `wait`, and returns process 0's value (of JSON) in all."""
    if self._store is None:
      return value
    key = f"{_KEYS}/{next(_meetings)}"
    me = jax.process_index()
    self._store.key_value_set(f"{key}/{me}", json.dumps(None if me else value))
    deadline = time.monotonic() + _TIMEOUT
    pause = 0.01
    while True:
      for name, why in self._store.key_value_dir_get(_FAILED):
        raise OtherProcessError(f"process {_process(name)} failed: {why}")
      values = dict(
        (_process(name), x) for name, x in self._store.key_value_dir_get(key)
      )
      late = sorted(set(range(jax.process_count())) - values.keys())
      if not late:
        return json.loads(values[0])
      if time.monotonic() > deadline:
        raise OtherProcessError(
          f"processes {late} did not come in {_TIMEOUT} s"
        )
      time.sleep(pause)
      pause = min(1, 2 * pause)


def _process(key: str) -> int:
  return int(key.rpartition("/")[2])


def own_part(count: int) -> slice:
  """Returns the part of `count` rows that is this process's: contiguous."""
  size = -(-count // jax.process_count())
  first = min(jax.process_index() * size, count)
  return slice(first, min(first + size, count))


def gather(values: list) -> list:
  """Joins the lists (values of JSON) of all processes, in every process."""
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
