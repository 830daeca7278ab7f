"""Names of photo files in, what the store keeps of each out, in order."""

import multiprocessing
import os
import posixpath
import signal
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import cv2
from etils import epath

from item_jax.data.images import MAX_BYTES, BadImage, store_jpeg
from item_jax.processes import die_with_parent

T = TypeVar("T")
_CHUNK = 16  # photos handed to a worker at once
_DEATHS = 2  # of a process alone with it; one may have been killed from outside
_AHEAD = 4  # chunks a worker may be ahead of the one waited for


def store_photos(
  folder: str | os.PathLike,
  wanted: Iterable[tuple[T, str]],
  *,
  workers: int | None,
) -> Iterator[tuple[T, bytes | BadImage]]:
  """Reads and shrinks photos.

  Args:
    folder: where the names start; no photo outside is read.
    wanted: pairs of anything and a photo's name; "" is no photo.
    workers: processes; None takes one a core, 0 or 1 the calling process.

  Yields:
    Each thing with the JPEG to store (b"" for no photo) or the reason why
    there is none, in the order of `wanted` whatever the number of workers.
  """
  root = find_root(folder)
  if workers is None:
    workers = len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count()
  if workers <= 1:
    for thing, name in wanted:
      yield thing, store_photo(root, name)
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
      return self._pool.submit(_stored_chunk, self._root, names)
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
          stored.append(lone.submit(store_photo, self._root, name).result())
          break
        except BrokenProcessPool:
          lone.shutdown()
          lone = self._start(1)
      else:
        deadly += 1
        stored.append(BadImage(f"reading the image kills the process: {name}"))
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


def _stored_chunk(root, names):
  return [store_photo(root, name) for name in names if not _stopped()]


def store_photo(root: str, name: str) -> bytes | BadImage:
  """The JPEG to store of a photo (b"" for no name), or why there is none."""
  if not name:
    return b""
  try:
    return store_jpeg(read_photo(root, name))
  except BadImage as error:
    return error


def find_root(folder: str | os.PathLike) -> str:
  """An image folder as `read_photo` takes it: no link in it, or an address."""
  folder = os.fspath(folder)
  return folder if "://" in folder else os.path.realpath(folder)


def read_photo(root: str, name: str) -> bytes:
  """A photo file's bytes.

  Args:
    root: the image folder, as `find_root` gives it.
    name: path of the file, relative to it.

  Raises:
    BadImage: outside the folder, not there, no file, or too large.
  """
  inside = _in_store if "://" in root else _in_folder
  try:
    path, size = inside(root, name)
    if size > MAX_BYTES:
      raise BadImage(
        f"the image file is larger than {MAX_BYTES // 10**6} MB: {name}"
      )
    return path.read_bytes()
  except FileNotFoundError:
    raise BadImage(f"the image file is not there: {name}") from None
  except OSError as error:
    raise BadImage(
      f"the image file cannot be read: {name}: {error.strerror}"
    ) from error


def _in_folder(root, name):
  """The path of a photo in a folder, all links followed, and its bytes."""
  path = os.path.realpath(os.path.join(root, name))
  if os.path.commonpath([root, path]) != root:
    raise BadImage(f"the image path leaves the image folder: {name}")
  found = os.stat(path)
  if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
    raise BadImage(f"the image is no regular file: {name}")
  return Path(path), found.st_size


def _in_store(root, name):
  """The same in an object store, where names are all there is."""
  inner = posixpath.normpath(name)
  if inner.startswith(("/", "../")) or inner == ".." or "://" in name:
    raise BadImage(f"the image path leaves the image folder: {name}")
  path = epath.Path(root) / inner
  found = path.stat()
  if found.is_directory:
    raise BadImage(f"the image is no regular file: {name}")
  return path, found.length
