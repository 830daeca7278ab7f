"""Shares between processes what one of them knows, and lets threads meet."""

import time
from collections.abc import Mapping
from concurrent.futures import Future

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax.distributed import cluster

_LONGEST_PAUSE = 1.0  # s between two looks at who has arrived


def as_first(value: int) -> int:
  """Process 0's value, in every process; all must call it at the same moment.

  With one process it costs nothing; of many, each waits for the others.
  """
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def tree_as_first(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Process 0's arrays, in every process; as `as_first`."""
  if jax.process_count() == 1:
    return dict(arrays)
  found = multihost_utils.broadcast_one_to_all(dict(arrays))
  return {name: np.asarray(array) for name, array in found.items()}


class FailingBarrier:
  """Where threads of all processes wait for each other until one has failed."""

  def __init__(self, name: str):
    self._store = cluster.store()
    self._prefix = f"item_jax/meeting/{name}"

  def report(self, future: Future) -> None:
    """Informs the others if work has failed; for `add_done_callback`."""
    error = future.exception()
    if error is not None and self._store is not None:
      self._write("failed", one_line(error))

  def wait(self, *, key: str, timeout_ms: int) -> None:
    """Returns when all processes wait for `key`.

    Raises:
      RuntimeError: one of them failed.
      TimeoutError: one did not arrive.
    """
    if self._store is None:
      return
    self._write(key, "")
    deadline = time.monotonic() + timeout_ms / 1000
    pause = 0.01
    while len(self._read(key)) < jax.process_count():
      for name, why in self._read("failed"):
        raise RuntimeError(f"process {name.rpartition('/')[2]}: {why}")
      if time.monotonic() > deadline:
        raise TimeoutError(f"not all processes came to {key}")
      time.sleep(pause)
      pause = min(_LONGEST_PAUSE, 2 * pause)

  def delete(self) -> None:
    """Deletes the keys, once nobody waits any more."""
    if self._store is not None and jax.process_index() == 0:
      self._store.key_value_delete(f"{self._prefix}/")

  def _write(self, what: str, text: str) -> None:
    key = f"{self._prefix}/{what}/{jax.process_index()}"
    self._store.key_value_set(key, text, allow_overwrite=True)

  def _read(self, what: str) -> list[tuple[str, str]]:
    return self._store.key_value_dir_get(f"{self._prefix}/{what}/")


def one_line(error: BaseException) -> str:
  """An error's message as one line of a log."""
  return " ".join(str(error).split())[:500]
