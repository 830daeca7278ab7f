"""Reads photos and shrinks them to what the store keeps, in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, TypeVar

import cv2

from item_jax.data.images import BadImage, encode, shrink
from item_jax.distributed.processes import die_with_parent
from item_jax.ingest.images.files import find_root, read_image
from item_jax.ingest.images.names import shorten
from item_jax.ingest.images.placeholders import thumbnail

T = TypeVar("T")
_CHUNK = 16  # photos handed to a worker at once
_DEATHS = 2  # of a process alone with it; one may have been killed from outside
_AHEAD = 4  # chunks a worker may be ahead of the one waited for
IN_TABLE = "in the table"  # in place of a name's spelling


class StoredImage(NamedTuple):
  """What is known of a photo once it can be stored."""

  jpeg: bytes  # b"" for no photo
  name: str = ""  # as the table writes it; "" where the photo lies in it
  spelling: str = ""  # by which the file was found, or IN_TABLE
  thumbnail: bytes = b""


NO_IMAGE = StoredImage(b"")


def load_images(
  folder: str | os.PathLike,
  wanted: Iterable[tuple[T, str | bytes]],
  *,
  workers: int | None,
) -> Iterator[tuple[T, StoredImage | BadImage]]:
  """Reads and shrinks photos.

  Args:
    folder: where the names start; no photo outside is read.
    wanted: pairs of anything and a photo's name, or the bytes of its file
      for one that lies in the table itself; "" is no photo.
    workers: processes; None takes one a core, 0 or 1 the calling process.

  Yields:
    Each thing with its photo or the reason why there is none, in the order of
    `wanted` whatever the number of workers.
  """
  root = find_root(folder)
  if workers is None:
    workers = len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count()
  if workers <= 1:
    for thing, name in wanted:
      yield thing, load_image(root, name)
    return
  pool = _Pool(root, workers)
  waiting = deque()
  try:
    for chunk in _chunks(wanted):
      waiting.append((chunk, pool.submit(chunk)))
      if len(waiting) >= workers * _AHEAD:
        yield from _first(pool, waiting)
    while waiting:
      yield from _first(pool, waiting)
  finally:
    pool.close()


_AFFINITY = hasattr(os, "sched_getaffinity")


def _chunks(wanted):
  chunk = []
  for pair in wanted:
    chunk.append(pair)
    if len(chunk) == _CHUNK:
      yield chunk
      chunk = []
  if chunk:
    yield chunk


def _first(pool, waiting):
  chunk, future = waiting.popleft()
  try:
    stored = future.result()
  except BrokenProcessPool:
    stored = pool.one_by_one(chunk)
    for place, (later, _) in enumerate(waiting):
      waiting[place] = (later, pool.submit(later))
  return [(thing, s) for (thing, _), s in zip(chunk, stored, strict=True)]


class _Pool:
  """Worker processes that are replaced when a photo kills them."""

  def __init__(self, root, workers):
    self._root = root
    self._workers = workers
    # Spawned: threads of libraries already loaded would not survive a fork.
    self._context = multiprocessing.get_context("spawn")
    # No Event: who is killed while it asks one leaves its lock held.
    self._stop = self._context.Semaphore(0)
    self._pool = self._start(workers)

  def _start(self, workers):
    return ProcessPoolExecutor(
      workers, self._context, _start_worker, (self._stop, os.getpid())
    )

  def submit(self, chunk):
    names = [name for _, name in chunk]
    try:
      return self._pool.submit(_load_chunk, self._root, names)
    except BrokenProcessPool as error:
      broken = Future()
      broken.set_exception(error)
      return broken

  def one_by_one(self, chunk):
    """Finds the photo that kills a process, and renews the pool."""
    self._pool.shutdown()
    lone = self._start(1)
    stored, deadly = [], 0
    for _, name in chunk:
      for _ in range(_DEATHS):
        try:
          stored.append(lone.submit(load_image, self._root, name).result())
          break
        except BrokenProcessPool:
          lone.shutdown()
          lone = self._start(1)
      else:
        deadly += 1
        reason = f"reading the image kills the process: {shorten(name)}"
        stored.append(BadImage(reason))
    lone.shutdown()
    if deadly == len(chunk) > 1:
      raise RuntimeError(
        "worker processes die whatever they read: out of memory, or the"
        " calling script has no `if __name__ == '__main__':`"
      )
    self._pool = self._start(self._workers)
    return stored

  def close(self):
    self._stop.release()  # photos handed out but not begun are let be
    self._pool.shutdown(cancel_futures=True)


def _start_worker(stop, parent):
  global _stop
  _stop = stop
  die_with_parent(parent)
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
  cv2.setNumThreads(1)  # one process a core is enough


_stop = None  # in a worker: above 0 where nobody waits any more


def _stopped() -> bool:
  if not _stop.acquire(block=False):
    return False
  _stop.release()
  return True


def _load_chunk(root, names):
  return [load_image(root, name) for name in names if not _stopped()]


def load_image(root: str, name: str | bytes) -> StoredImage | BadImage:
  """Reads and shrinks one photo, as `load_images` does many."""
  if not name:
    return NO_IMAGE
  try:
    if isinstance(name, bytes):
      data, spelling, name = name, IN_TABLE, ""
    else:
      data, spelling = read_image(root, name)
    pixels = shrink(data)
  except BadImage as error:
    return error
  return StoredImage(encode(pixels), name, spelling, thumbnail(pixels))
