"""Reads the file of an image, below a folder or an address and nowhere else."""

import errno
import itertools
import os
import posixpath
import stat
from pathlib import Path

from etils import epath

from item_jax.data.images import MAX_BYTES, BadImage
from item_jax.data.summary import AS_WRITTEN
from item_jax.ingest.images.names import (
  describe_missing,
  is_address,
  other_spellings,
  shorten,
)

_TRIES = 64  # other spellings of a name


def find_root(folder: str | os.PathLike) -> str:
  """An image folder as `read_image` takes it: no link in it, or an address."""
  folder = os.fspath(folder)
  return folder if "://" in folder else os.path.realpath(folder)


def read_image(root: str, name: str) -> tuple[bytes, str]:
  """Reads an image file, found by its name or by another spelling of it.

  Args:
    root: the image folder, as `find_root` gives it.
    name: path of the file, relative to it; this very name is tried first.

  Returns:
    The file's bytes, and by which spelling it was found: `AS_WRITTEN` or as
    `other_spellings` says.

  Raises:
    BadImage: outside the folder, not there, no file, or too large.
  """
  try:
    path, size, spelling = _find(root, name)
    if size > MAX_BYTES:
      raise BadImage(
        f"the image file is larger than {MAX_BYTES // 10**6} MB:"
        f" {shorten(name)}"
      )
    return path.read_bytes(), spelling
  except OSError as error:
    raise BadImage(
      f"the image file cannot be read: {shorten(name)}: {error.strerror}"
    ) from error


def _find(root, name):
  """The file's path, its bytes, and by which spelling it was found."""
  inside = _in_store if "://" in root else _in_folder
  try:
    return *inside(root, name), AS_WRITTEN
  except (BadImage, OSError) as error:
    reason = _reason(name, error)
  for spelling, done in itertools.islice(other_spellings(name), _TRIES):
    try:
      return *inside(root, spelling), done
    except (BadImage, OSError) as error:
      _reason(name, error)
  raise reason


def _reason(name, error):
  """Why a name is of no use; raises an error that is none of its spelling."""
  if isinstance(error, BadImage) and not is_address(name):
    return error
  absent = (BadImage, FileNotFoundError, NotADirectoryError)
  if isinstance(error, absent) or error.errno == errno.ENAMETOOLONG:
    return BadImage(describe_missing(name))
  raise error


def _in_folder(root, name):
  """The path of an image in a folder, all links followed, and its bytes."""
  path = os.path.realpath(os.path.join(root, name))
  if os.path.commonpath([root, path]) != root:
    raise BadImage(f"the image path leaves the image folder: {shorten(name)}")
  found = os.stat(path)
  if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
    raise BadImage(f"the image is no regular file: {shorten(name)}")
  return Path(path), found.st_size


def _in_store(root, name):
  """The same in an object store, where names are all there is."""
  name = name.removeprefix(f"{root.rstrip('/')}/")
  inner = posixpath.normpath(name)
  if inner.startswith(("/", "../")) or inner == "..":
    raise BadImage(f"the image path leaves the image folder: {shorten(name)}")
  if "://" in name:
    raise FileNotFoundError
  path = epath.Path(root) / inner
  found = path.stat()
  if found.is_directory:
    raise BadImage(f"the image is no regular file: {shorten(name)}")
  return path, found.length
