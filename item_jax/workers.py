"""Runs work in processes that end with this one and leave Ctrl-C to it."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from item_jax.distributed.processes import die_with_parent


def count_cores() -> int:
  """Counts the cores that this process may use, where the system tells."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


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
    context = multiprocessing.get_context("spawn")
    super().__init__(workers, context, _start, (os.getpid(), start, args))

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
