"""Copies folders from object stores to local disks, and back.

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
from item_jax.errors import NotFoundError, UserError
from item_jax.files import MANIFEST, check_manifest, files_below
from item_jax.remote import Address, StoreError

logger = logging.getLogger(__name__)

CACHE = "ITEM_JAX_CACHE"  # the environment variable that names the folder
UPLOADING = "item-jax-uploading"  # there while a folder is not complete
_CATALOGUE = "catalogue.json"


def everything(name: str) -> bool:
  """Selects every file."""
  return True


def cache_folder() -> Path:
  """Returns the folder of copies: $ITEM_JAX_CACHE, or the user's cache."""
  folder = os.environ.get(CACHE)
  remote.check_local(folder)
  if folder:
    return Path(folder).absolute()
  home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
  return Path(home).absolute() / "item_jax"


def place_of(kind: str, address: Address, version: str = "") -> Path:
  """Returns the local folder of an address, which ends with its name."""
  key = hashlib.sha256(f"{address}\n{version}".encode()).hexdigest()[:16]
  return cache_folder() / kind / key / (address.name or "files")


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
  """Makes a temporary folder in the cache.

  It is deleted afterwards; those that killed processes left are deleted before.
  """
  home = cache_folder() / "temporary"
  home.mkdir(parents=True, exist_ok=True)
  prefix = f"{socket.gethostname()}-"
  for left in home.glob(f"{prefix}*"):
    # All but what mkdtemp adds: of the host "gpu-7" it is "7-PID" to "gpu".
    pid = left.name.removeprefix(prefix).rpartition("-")[0]
    if not pid.isdecimal() or int(pid) == os.getpid():
      continue
    if not alive(int(pid)):
      shutil.rmtree(left, ignore_errors=True)
  made = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=home))
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
  """Gives a local path to a file or folder that may be on an object store.

  Args:
    wanted: whether to copy a file, by its name below the folder.
    finished: whether to refuse a folder that is being uploaded.

  Raises:
    NotFoundError: there is nothing at the address.
    UserError: an upload to it was cut off.
    StoreError: the store failed.
  """
  address = remote.locate(path)
  if isinstance(address, Path):
    yield address
    return
  with temporary() as home:
    # Folders such as split=train are columns of a table: they keep their names.
    columns = [part for part in address.split("/")[3:-1] if "=" in part]
    copy = home.joinpath(*columns, address.name or "files")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if remote.is_file(address):
      remote.download(address, copy)
    else:
      found = list_finished(address, finished=finished)
      fetch(address, copy, {n: s for n, s in found.items() if wanted(n)})
    yield copy


def fetch(address: Address, folder: Path, sizes: dict[str, int]) -> None:
  """Downloads {name: bytes}; skips files that are there in that size."""
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
  """Copies a data set to this machine, once for all processes.

  The copy is kept in the cache under the SHA-256 of its manifest: a data set
  that is replaced is copied anew, and readers of the old one are not disturbed.

  Raises:
    NotFoundError: there is no finished data set.
    CorruptError: a file was altered; the message names it.
  """
  found = list_finished(address)
  manifest = remote.read(address / MANIFEST)
  if manifest is None or _CATALOGUE not in found:
    raise NotFoundError(
      f"{address} holds no finished data: it has no"
      f" {MANIFEST if manifest is None else _CATALOGUE}"
    )
  version = hashlib.sha256(manifest).hexdigest()
  folder = place_of("data", address, version)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with (folder.parent / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # one process copies, the others wait
    if not folder.is_dir():
      part = folder.with_name(f"{folder.name}.part")
      fetch(address, part, found)
      try:
        check_manifest(part)
      except UserError:
        shutil.rmtree(part)
        raise
      part.rename(folder)
  return folder


def send(
  folder: Path, address: Address, *, last: str = "", old: Iterable[str] = ()
) -> None:
  """Uploads a folder, its file `last` after all others.

  Args:
    old: names of files to delete there before; `last` is the first of them.

  Raises:
    StoreError: the store failed, or does not list what was uploaded.
  """
  names = files_below(folder)
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
  """Lists {name: bytes} of a folder that is not empty.

  Args:
    finished: whether to refuse a folder that is being uploaded.

  Raises:
    NotFoundError: there is nothing.
    UserError: an upload to it is under way or was cut off.
  """
  found = remote.list_files(address)
  if not found:
    raise NotFoundError(f"{address}: there is nothing")
  if finished and UPLOADING in found:
    raise UserError(
      f"{address} is not complete: an upload to it is under way or was cut off"
    )
  return {n: size for n, size in found.items() if not n.endswith(UPLOADING)}
