"""Parses addresses on object stores, as gs://bucket/data, and copies files.

Stores write, read, list and delete whole objects, and nothing else. fsspec does
it with the client of each store (gcsfs, s3fs, adlfs).
"""

import contextlib
import os
import posixpath
import re
from collections.abc import Callable, Iterable
from concurrent import futures
from pathlib import Path
from typing import Any

from item_jax.errors import WRONG_PATHS, NotFoundError, UserError, check_path

# Two letters at least: c:\ and c:/ are drives. Also with one slash, as Path()
# writes it; with "::" fsspec chains stores.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+):(?=[/:])(/*)(.*)", re.DOTALL)
_INSIDE = re.compile(r"/[A-Za-z][A-Za-z0-9+._-]+://")
_LOCAL = ("file", "local")
# Addresses of these may have no host: hdfs:///data.
_HOSTLESS = ("hdfs", "viewfs", "arrow_hdfs")
_IN_PLACE = ("gs", "s3", "az", "hf")  # what etils.epath reads by itself
_AT_ONCE = 16  # transfers


class StoreError(OSError):
  """An operation on an object store failed; the message names the address."""


class Address(str):
  """A folder or an object on a store, as SCHEME://REST."""

  @property
  def name(self) -> str:
    """The last part of the address."""
    return posixpath.basename(self)

  @property
  def parent(self) -> "Address":
    """The address without its last part."""
    return Address(posixpath.dirname(self))

  def __truediv__(self, name: str) -> "Address":
    return Address(f"{self}/{name}")

  def is_bucket(self) -> bool:
    """Whether it names a whole store, and nothing in it."""
    return self.count("/") < 3


def locate(path: str | os.PathLike, name: str = "path") -> Path | Address:
  """Parses a local path or an address; `file:///x` is the path /x.

  An address with one slash, as pathlib writes it, gets two again.

  Args:
    name: of the argument, for errors.

  Raises:
    UserError: it is no path, or holds an address inside.
  """
  check_path(path, name)
  text = os.fspath(path)
  found = _ADDRESS.match(text.strip()) if isinstance(text, str) else None
  if found is None:
    if isinstance(text, str) and _INSIDE.search(text):
      raise UserError(
        f"{text!r} holds an address inside a path: expected one or the other"
      )
    return Path(path)
  scheme, slashes, rest = found[1].lower(), found[2], found[3]
  if scheme in _LOCAL and slashes:
    return Path("/" + rest if len(slashes) != 2 else rest)
  if rest.startswith(":") and not slashes:  # a chain: refused by _open
    return Address(text)
  if len(slashes) < 2:
    slashes = "///" if scheme in _HOSTLESS else "//"
  return Address(f"{scheme}:{slashes}{rest.rstrip('/')}")


def check_local(*paths: str | os.PathLike | None) -> None:
  """Raises UserError where a path is an address: no folder `gs:` is made."""
  for path in paths:
    if path is not None and isinstance(place := locate(path), Address):
      raise UserError(
        f"{place} is on an object store: expected a path of this"
        " machine here (docs/data/object_stores.md says what takes an address)"
      )


def check_in_place(path: str | os.PathLike) -> None:
  """Refuses an address of a store whose files cannot be read in place.

  The store itself is not contacted.

  Raises:
    UserError: it is such an address.
  """
  address = locate(path)
  if isinstance(address, Address):
    if address.partition(":")[0] not in _IN_PLACE:
      raise UserError(
        f"{address}: files are read one by one from"
        f" {', '.join(f'{scheme}://' for scheme in _IN_PLACE)} or from a folder"
        " of this machine: copy them there"
      )
    # etils uses fsspec's gcs for gs.
    check_store(Address(re.sub("^gs:", "gcs:", address)))


def check_store(address: Address) -> None:
  """Refuses an address that cannot be used here.

  No object of the store is accessed.

  Raises:
    UserError: it is such an address.
  """
  try:
    _open(address)
  except StoreError as error:
    raise UserError(f"{error}: it cannot be used here") from error


def list_files(address: Address) -> dict[str, int]:
  """Lists {name below the address: bytes} of all objects there.

  Raises:
    UserError: a name leads out of the folder.
    StoreError: the store did not list all of them.
  """
  store, root = _open(address)

  def walk(folder):
    # Not by the client's find(): it may read an error as "nothing".
    for info in store.ls(folder, detail=True):
      name = info["name"].rstrip("/")
      if name.lstrip("/") == folder.strip("/"):
        continue  # the folder itself
      if info["type"] != "directory":
        yield name.lstrip("/"), info["size"]
        continue
      with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
        yield from walk(name)

  def find():
    store.invalidate_cache()  # some clients cache listings
    return dict(walk(root))

  found = {}
  for path, size in _call(address, find, absent={}).items():
    name = path.removeprefix(f"{root.strip('/')}/")
    if posixpath.normpath(name) != name or name.startswith(("/", "..")):
      raise UserError(f"{address}: an object has the odd name {name!r}")
    found[name] = size
  return found


def is_file(address: Address) -> bool:
  """Whether there is an object at the address itself."""
  store, path = _open(address)
  return _call(address, lambda: store.isfile(path), absent=False)


def read(address: Address) -> bytes | None:
  """Reads an object; None where there is none."""
  store, path = _open(address)
  return _call(address, lambda: store.cat_file(path), absent=None)


def write(address: Address, content: bytes) -> None:
  """Writes an object, in place of an earlier one."""
  store, path = _open(address)
  _call(address, lambda: store.pipe_file(path, content))


def download(address: Address, file: Path) -> None:
  """Copies an object to a file.

  Raises:
    NotFoundError: there is no such object.
  """
  store, path = _open(address)
  file.parent.mkdir(parents=True, exist_ok=True)
  _call(address, lambda: store.get_file(path, os.fspath(file)))


def upload(file: Path, address: Address) -> None:
  """Copies a file to an object, in place of an earlier one."""
  # Without making its folder: some clients would make a bucket.
  store, path = _open(address)
  _call(address, lambda: store.put_file(os.fspath(file), path))


def delete(address: Address) -> None:
  """Deletes an object, if it is there."""
  store, path = _open(address)
  _call(address, lambda: store.rm_file(path), absent=None)


def each(work: Callable[[str], None], names: Iterable[str]) -> None:
  """Calls `work` for all names in threads; raises the first error."""
  with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
    begun = [pool.submit(work, name) for name in names]
    try:
      for one in futures.as_completed(begun):
        one.result()
    finally:
      pool.shutdown(cancel_futures=True)


def _open(address: Address):
  """Opens (fsspec's file system, the path in it)."""
  import fsspec

  if "::" in address:
    raise UserError(f"{address} chains file systems: expected a single one")
  try:
    return fsspec.core.url_to_fs(address)
  except OSError as error:  # no network, as a rule
    raise StoreError(_describe(address, error)) from error
  # No client, no such scheme, or the address is incomplete.
  except (ImportError, ValueError, TypeError, AttributeError) as error:
    raise UserError(
      f"{address} cannot be used here: {_first_line(error)}"
    ) from error


_REQUIRED = object()


def _call(
  address: Address, call: Callable[[], Any], absent: Any = _REQUIRED
) -> Any:
  """Calls a client and converts its errors.

  Every client raises exceptions of its own classes, so it is called in a
  thread, which catches all of them.

  Args:
    absent: the result where there is nothing; by default that is an error.
  """
  pool = futures.ThreadPoolExecutor(1)
  try:
    future = pool.submit(call)
    error = future.exception()
  finally:
    pool.shutdown(wait=False)
  if error is None:
    return future.result()
  if isinstance(error, FileNotFoundError):
    if absent is _REQUIRED:
      raise NotFoundError(f"{address}: there is nothing") from error
    return absent
  message = _describe(address, error)
  if isinstance(error, WRONG_PATHS):
    raise type(error)(message) from error
  if isinstance(error, NotImplementedError):
    raise UserError(f"{address}: this kind of store cannot do that") from error
  raise StoreError(message) from error


def _describe(address: Address, error: BaseException) -> str:
  return f"{address}: {type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
  """Returns an error's first line; some clients append a page."""
  return str(error).partition("\n")[0]
