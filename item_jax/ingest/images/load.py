"""Reads images and shrinks them to the stored size, in worker processes."""

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeVar

from item_jax.data.images import BadImage, encode, shrink
from item_jax.ingest.images.files import find_root, read_image
from item_jax.ingest.images.names import shorten
from item_jax.ingest.images.placeholders import thumbnail
from item_jax.workers import WorkerPool, count_cores

T = TypeVar("T")
_CHUNK = 16  # images that a worker takes at once
_DEATHS = 2  # of a process with one image: one death may have another cause
_PREFETCH = 4  # chunks a worker that are read before they are needed
IN_TABLE = "in the table"  # instead of a name's spelling


class StoredImage(NamedTuple):
  """An image as it is stored, and how it was found."""

  jpeg: bytes  # b"" where a row has no image
  name: str = ""  # as the table writes it; "" for an image inside the table
  spelling: str = ""  # how the file was found, or IN_TABLE
  thumbnail: bytes = b""


NO_IMAGE = StoredImage(b"")


def load_images(
  folder: str | os.PathLike,
  wanted: Iterable[tuple[T, str | bytes]],
  *,
  workers: int | None,
) -> Iterator[tuple[T, StoredImage | BadImage]]:
  """Reads and shrinks images.

  Args:
    folder: where the names start; no image outside of it is read.
    wanted: pairs of anything and an image's name, or the bytes of its file for
      an image inside the table; "" is no image.
    workers: processes; None takes one a core, 0 or 1 the calling process.

  Yields:
    Each thing with its image, or the reason why it cannot be used, in the order
    of `wanted` for any number of workers.
  """
  root = find_root(folder)
  if workers is None:
    workers = count_cores()
  if workers <= 1:
    for thing, name in wanted:
      yield thing, load_image(root, name)
    return
  pool = _Pool(root, workers)
  waiting: deque[tuple[list, Future]] = deque()
  try:
    for chunk in _chunks(wanted):
      waiting.append((chunk, pool.submit(chunk)))
      if len(waiting) >= workers * _PREFETCH:
        yield from _first(pool, waiting)
    while waiting:
      yield from _first(pool, waiting)
  finally:
    pool.close()


def _chunks(wanted):
  wanted = iter(wanted)
  while chunk := list(itertools.islice(wanted, _CHUNK)):
    yield chunk


def _first(pool, waiting):
  chunk, future = waiting.popleft()
  try:
    stored = future.result()
  except BrokenProcessPool:
    stored = pool.one_by_one(chunk)
    for index, (later, _) in enumerate(waiting):
      waiting[index] = (later, pool.submit(later))
  return [(thing, s) for (thing, _), s in zip(chunk, stored, strict=True)]


class _Pool:
  """Runs worker processes, and replaces them when an image kills them."""

  def __init__(self, root, workers):
    self._root = root
    self._workers = workers
    # Not an Event: a process killed while it checks one keeps its lock.
    self._stop = multiprocessing.get_context("spawn").Semaphore(0)
    self._pool = self._start(workers)

  def _start(self, workers):
    return WorkerPool(workers, _start_worker, self._stop)

  def submit(self, chunk):
    names = [name for _, name in chunk]
    try:
      return self._pool.submit(_load_chunk, self._root, names)
    except BrokenProcessPool as error:
      broken = Future()
      broken.set_exception(error)
      return broken

  def one_by_one(self, chunk):
    """Finds the image that kills a process, and renews the pool."""
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
        "worker processes die whatever they read: out of memory, as a rule"
      )
    self._pool = self._start(self._workers)
    return stored

  def close(self):
    self._stop.release()  # workers skip the images that they have not begun
    self._pool.shutdown(cancel_futures=True)


def _start_worker(stop):
  global _stop
  _stop = stop


_stop: Any = None  # in a worker: above 0 when the parent stops waiting


def _stopped() -> bool:
  if not _stop.acquire(block=False):
    return False
  _stop.release()
  return True


def _load_chunk(root, names):
  return [load_image(root, name) for name in names if not _stopped()]


def load_image(root: str, name: str | bytes) -> StoredImage | BadImage:
  """Reads and shrinks one image, as `load_images` does many."""
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
