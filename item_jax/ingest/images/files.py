"""Reads image files, only from below a folder or an address."""

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
  is_image_as_text,
  other_spellings,
  shorten,
)

_TRIES = 64  # other spellings of a name


def find_root(folder: str | os.PathLike) -> str:
  """Resolves an image folder for `read_image`: without links, or an address."""
  folder = os.fspath(folder)
  return folder if "://" in folder else os.path.realpath(folder)


def read_image(root: str, name: str) -> tuple[bytes, str]:
  """Reads an image file, found by its name or by another spelling of it.

  Args:
    root: the image folder, as `find_root` gives it.
    name: the file's path relative to it; it is tried as written first.

  Returns:
    The file's bytes, and how it was found: `AS_WRITTEN`, or what
    `other_spellings` did to the name.

  Raises:
    BadImage: it is outside the folder, not there, no file, or too large.
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


def _find(root: str, name: str) -> tuple[Path | epath.Path, int, str]:
  """Finds a file; returns its path, its size, and how it was found."""
  inside = _in_store if "://" in root else _in_folder
  others = itertools.islice(other_spellings(name), _TRIES)
  reasons = []
  for spelling, done in itertools.chain([(name, AS_WRITTEN)], others):
    try:
      path, size = inside(root, spelling)
      return path, size, done
    except (BadImage, OSError) as error:
      reasons.append(_reason(name, error))
  raise reasons[0]


def _reason(name, error):
  """Returns why a name leads nowhere; raises errors of another kind."""
  no_path = is_address(name) or is_image_as_text(name)
  if isinstance(error, BadImage) and not no_path:
    return error
  absent = (BadImage, FileNotFoundError, NotADirectoryError)
  if isinstance(error, absent) or error.errno == errno.ENAMETOOLONG:
    return BadImage(describe_missing(name))
  raise error


def _in_folder(root: str, name: str) -> tuple[Path, int]:
  """Returns the path of an image in a folder, links followed, and its size."""
  path = os.path.realpath(os.path.join(root, name))
  if os.path.commonpath([root, path]) != root:
    raise BadImage(f"the image path leaves the image folder: {shorten(name)}")
  found = os.stat(path)
  if not stat.S_ISREG(found.st_mode):  # reading a pipe would block
    raise BadImage(f"the image is no regular file: {shorten(name)}")
  return Path(path), found.st_size


def _in_store(root: str, name: str) -> tuple[epath.Path, int]:
  """Does the same in an object store, which has names only."""
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
