"""Copies folders from object stores and to them, so that what needs a disk has
one.

A folder on a store is finished when its marker, written last, is there and
`UPLOADING`, written first and deleted at the end, is not.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from item_jax import remote
from item_jax.distributed.processes import alive
from item_jax.errors import UserError
from item_jax.files import MANIFEST, check_manifest
from item_jax.remote import Address, StoreError

logger = logging.getLogger(__name__)

CACHE = "ITEM_JAX_CACHE"  # the environment's variable that names the folder
UPLOADING = "item-jax-uploading"  # there while a folder is not complete
_CATALOGUE = "catalogue.json"


def everything(name: str) -> bool:
  """Wants any file."""
  return True


def cache_folder() -> Path:
  """Where copies lie: $ITEM_JAX_CACHE, or item_jax in the user's cache."""
  given = os.environ.get(CACHE)
  remote.check_local(given)
  if given:
    return Path(given).absolute()
  home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  return Path(home).absolute() / "item_jax"


def place_of(kind: str, address: Address, version: str = "") -> Path:
  """The folder of this machine that belongs to an address, with its name."""
  key = hashlib.sha256(f"{address}\n{version}".encode()).hexdigest()[:16]
  return cache_folder() / kind / key / (address.name or "files")


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
  """A folder of the cache that is deleted afterwards; those that killed
  processes left are deleted before."""
  home = cache_folder() / "temporary"
  home.mkdir(parents=True, exist_ok=True)
  ours = f"{socket.gethostname()}-"
  for left in home.glob(f"{ours}*"):
    pid = left.name.removeprefix(ours).partition("-")[0]
    if not pid.isdecimal() or int(pid) == os.getpid():
      continue
    if not alive(int(pid)):
      shutil.rmtree(left, ignore_errors=True)
  made = Path(tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-", dir=home))
  try:
    yield made
  finally:
    shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def copied(
  path: str | os.PathLike,
  *,
  wanted: Callable[[str], bool] = everything,
  finished: bool = True,
) -> Iterator[Path]:
  """A local path of what may lie on an object store: a file or a folder.

  Args:
    wanted: tells by its name below the folder whether a file is copied.
    finished: whether a folder must not be one that is being uploaded.

  Raises:
    FileNotFoundError: there is nothing at the address.
    UserError: an upload to it was cut off.
    StoreError: the store did not answer.
  """
  address = remote.locate(path)
  if isinstance(address, Path):
    yield address
    return
  with temporary() as home:
    copy = home / (address.name or "files")
    if remote.is_file(address):
      remote.download(address, copy)
    else:
      found = list_finished(address, finished=finished)
      fetch(address, copy, {n: s for n, s in found.items() if wanted(n)})
    yield copy


def fetch(address: Address, folder: Path, sizes: dict[str, int]) -> None:
  """Downloads {name: bytes}; what is there in that size stays as it is."""
  folder.mkdir(parents=True, exist_ok=True)

  def one(name: str) -> None:
    file = folder / name
    if not file.is_file() or file.stat().st_size != sizes[name]:
      remote.download(address / name, file)

  total = sum(sizes.values()) / 1e6
  # A warning goes to stderr: results go to stdout.
  logger.warning(
    f"{address}: {len(sizes)} files, {total:,.1f} MB, are copied to {folder}"
  )
  remote.each(one, sizes)


def data_copy(address: Address) -> Path:
  """A data set's copy on this machine, made once and used by all processes.

  It is kept in the cache under the SHA-256 of its manifest, so that a data
  set that is replaced is copied anew and readers of the old one are not
  disturbed.

  Raises:
    FileNotFoundError: there is nothing finished.
    CorruptError: a file, named, is not what was written.
  """
  found = list_finished(address)
  said = remote.read(address / MANIFEST)
  if said is None or _CATALOGUE not in found:
    raise FileNotFoundError(
      f"{address} holds no finished data: it has no"
      f" {MANIFEST if said is None else _CATALOGUE}"
    )
  version = hashlib.sha256(said).hexdigest()
  folder = place_of("data", address, version)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with (folder.parent / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # one process copies, the others wait
    if not folder.is_dir():
      draft = folder.with_name(f"{folder.name}.part")
      fetch(address, draft, found)
      try:
        check_manifest(draft)
      except UserError:
        shutil.rmtree(draft)
        raise
      draft.rename(folder)
  return folder


def send(
  folder: Path, address: Address, *, last: str = "", old: Iterable[str] = ()
) -> None:
  """Uploads a folder, its file `last` after all others.

  Args:
    old: names of what is there and makes way; `last` before all others.

  Raises:
    StoreError: the store does not take it, or does not show it.
  """
  names = [
    p.relative_to(folder).as_posix()
    for p in sorted(folder.rglob("*"))
    if p.is_file()
  ]
  remote.write(address / UPLOADING, b"not complete while this is here\n")
  old = set(old) - {UPLOADING}
  if last in old:
    remote.delete(address / last)
  remote.each(lambda n: remote.delete(address / n), old - {last})
  remote.each(
    lambda n: remote.upload(folder / n, address / n),
    [n for n in names if n != last],
  )
  if last in names:
    remote.upload(folder / last, address / last)
  seen = remote.list_files(address)
  for name in names:
    size = (folder / name).stat().st_size
    if seen.get(name) != size:
      raise StoreError(
        f"{address / name} has {seen.get(name)} bytes, not {size}: it was not"
        " uploaded whole"
      )
  remote.delete(address / UPLOADING)


def list_finished(address: Address, *, finished: bool = True) -> dict[str, int]:
  """{name: bytes} of a folder that is not empty.

  Args:
    finished: whether it must not be one that is being uploaded.

  Raises:
    FileNotFoundError: there is nothing.
    UserError: an upload to it is under way or was cut off.
  """
  found = remote.list_files(address)
  if not found:
    raise FileNotFoundError(f"{address}: there is nothing")
  if finished and UPLOADING in found:
    raise UserError(
      f"{address} is not complete: an upload to it is under way or was cut off"
    )
  return {n: size for n, size in found.items() if not n.endswith(UPLOADING)}
