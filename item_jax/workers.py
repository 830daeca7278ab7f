"""Runs work in processes that end with this one and leave Ctrl-C to it."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from item_jax.distributed.processes import die_with_parent


def count_cores() -> int:
  """Counts the cores that this process may use, where the system tells."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


_NAMES = ("__spec__", "__file__")  # that multiprocessing finds a script by
_hiding = threading.Lock()


class _Process(SpawnProcess):
  """A process that does not run the calling script once more.

  All that it calls is in modules of ours, so that a script needs no
  `if __name__ == "__main__":`, and may come from stdin.
  """

  def start(self) -> None:
    """Starts it while the script has neither name nor file."""
    script = vars(sys.modules["__main__"])
    with _hiding:
      hidden = {name: script.pop(name) for name in _NAMES if name in script}
      script["__spec__"] = None
      try:
        super().start()
      finally:
        script.update(hidden)


class _Context(SpawnContext):
  Process = _Process


class WorkerPool(ProcessPoolExecutor):
  """A pool of processes, with one thread of OpenCV each.

  They are spawned: threads of libraries already loaded would not survive a
  fork. On Ctrl-C, which goes to a whole group of processes, only this one is
  interrupted; it ends the pool.
  """

  def __init__(
    self, workers: int, start: Callable[..., None] | None = None, *args: Any
  ):
    """Takes a function that each worker calls first, and its arguments."""
    super().__init__(workers, _Context(), _start, (os.getpid(), start, args))

  def submit(self, *call: Any, **options: Any) -> Future:
    """Submits a call, and starts a process for it if there is none."""
    # A new process inherits the blocked signal, and is never interrupted.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
      return super().submit(*call, **options)
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(parent: int, start: Callable[..., None] | None, args: tuple) -> None:
  import cv2

  die_with_parent(parent)
  cv2.setNumThreads(1)  # a process a core is enough
  if start is not None:
    start(*args)
