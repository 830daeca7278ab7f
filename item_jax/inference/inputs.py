"""Turns what a notebook holds of images and titles into listings."""

import itertools
import os
import reprlib
import stat
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

import jax
import numpy as np
from PIL import Image

from item_jax.data import images as images_lib
from item_jax.data.images import MAX_BYTES, BadImage
from item_jax.data.unreadable import listed
from item_jax.errors import NotFoundError, UserError
from item_jax.ingest.readers.cells import NO_VALUE

T = TypeVar("T")
_END = object()  # of the shorter of two columns
_BYTES = (bytes, bytearray, memoryview)
_SHORT = reprlib.Repr()
_SHORT.maxstring = 200  # characters: most paths, no file's content


def listings(images: Any, titles: Any) -> Iterator[tuple[bytes, str]]:
  """Reads images and titles row by row, each only when it is needed.

  Args:
    images: one image or many, a data frame that has the titles too, or None.
    titles: one text or many, or None.

  Yields:
    Of each listing the JPEG that a store would keep, and the title; b"" and
    "" where there is none.

  Raises:
    UserError: neither is given, or not as many of one as of the other; or a
      row, which is named, holds what is no image or no title.
  """
  columns = _columns(images, titles)
  sizes = {
    name: len(column)
    for name, column in columns.items()
    if isinstance(column, Sized)
  }
  if len(set(sizes.values())) > 1:
    raise UserError(" but ".join(f"{n} {name}" for name, n in sizes.items()))
  for row, values in enumerate(
    itertools.zip_longest(*columns.values(), fillvalue=_END)
  ):
    pair = dict(zip(columns, values, strict=True))
    for name, value in pair.items():
      if value is _END:
        raise UserError(f"{name} ended after {row} rows, and the others go on")
    yield (
      _jpeg(row, _plain(pair.get("images"))),
      _title(row, _plain(pair.get("titles"))),
    )


def _columns(images: Any, titles: Any) -> dict[str, Iterable]:
  """What is given of images and titles, each as its rows."""
  if _is_frame(images) and titles is None:
    images, titles = _of_frame(images)
  given = {"images": images, "titles": titles}
  columns = {
    name: _rows(name, value)
    for name, value in given.items()
    if value is not None
  }
  if not columns:
    raise UserError("images, titles or both are needed; neither was given")
  return columns


def _is_frame(given: Any) -> bool:
  """Whether it has named columns: of pandas, Polars, pyarrow and others."""
  return hasattr(given, "columns") or hasattr(given, "column_names")


def _of_frame(frame: Any) -> tuple[Any, Any]:
  # pyarrow's `columns` are the values.
  names = list(getattr(frame, "column_names", None) or frame.columns)
  if not all(names.count(name) == 1 for name in ("image", "title")):
    raise UserError(
      "a data frame needs one column image and one column title; its columns"
      f" are: {listed([str(name) for name in names]) or 'none'}"
    )
  try:
    return frame["image"], frame["title"]
  except TypeError as error:  # of a lazy one
    name = type(frame).__name__
    raise UserError(f"columns of a {name} cannot be read: {error}") from error


def _rows(name: str, given: Any) -> Iterable:
  """The rows of what may be one of them."""
  given = _plain(given)
  one = isinstance(given, (str, os.PathLike, *_BYTES, Image.Image))
  if one or hasattr(given, "read"):
    return [given]
  if _is_frame(given):
    raise UserError(
      f"{name} is a data frame; expected one column of it, such as"
      f" frame['{name.removesuffix('s')}'], or the frame itself in place of"
      " images"
    )
  if isinstance(given, (Mapping, set, frozenset)):
    raise UserError(
      f"{name} is a {type(given).__name__}, which has no order of rows;"
      " expected a list"
    )
  if name == "images" and _is_array(given) and given.ndim > 1:
    try:
      _check_array(given, stacked=True)
    except BadImage as error:
      raise UserError(f"images is {_shown(given)}: {error}") from error
    return given if given.ndim == 4 else [given]
  try:
    iter(given)
  except TypeError:
    return [given]  # no rows, but maybe a missing value
  return given


def _is_array(value: Any) -> bool:
  """Whether it is of numpy's kind, or of jax's and others', and no scalar."""
  return hasattr(value, "shape") and getattr(value, "ndim", 0) > 0


def _plain(value: Any) -> Any:
  """A row's value without what pyarrow and numpy wrap around it."""
  if hasattr(value, "as_py"):
    return value.as_py()
  if isinstance(value, memoryview) and value.ndim > 1:
    return np.asarray(value)  # of pixels, no file's bytes
  if type(value) is np.ndarray and not value.ndim:
    return value[()]
  return value


def _missing(value: Any) -> bool:
  if value is None or type(value).__name__ in NO_VALUE:
    return True
  if isinstance(value, str):
    return not value.strip()
  kinds = (float, np.floating, np.datetime64)
  return isinstance(value, kinds) and bool(value != value)  # NaN


def _title(row: int, value: Any) -> str:
  if _missing(value):
    return ""
  if not isinstance(value, str):
    raise UserError(
      f"row {row}: titles holds {_shown(value)}: expected text, or None where"
      " it is missing"
    )
  try:
    value.encode()
  except UnicodeEncodeError:
    raise UserError(
      f"row {row}: titles holds {_shown(value)}: it is not valid UTF-8"
    ) from None
  return value


def _jpeg(row: int, value: Any) -> bytes:
  if _missing(value):
    return b""
  try:
    return _stored(value)
  except BadImage as error:
    absent = isinstance(error.__cause__, FileNotFoundError)
    raise (NotFoundError if absent else UserError)(
      f"row {row}: images holds {_shown(value)}: {error}"
    ) from error


def _stored(value: Any) -> bytes:
  """An image in any accepted form as the store keeps it."""
  if isinstance(value, Image.Image):
    return images_lib.store_image(value)
  if isinstance(value, _BYTES):
    return images_lib.store_jpeg(bytes(value))
  if isinstance(value, (str, os.PathLike)) or hasattr(value, "read"):
    return images_lib.store_jpeg(_read(value))
  if _is_array(value):
    return images_lib.store_image(Image.fromarray(_pixels(value)))
  raise BadImage(
    "expected a path, the bytes of an image file, a PIL image, an array, or"
    " None where it is missing"
  )


def _read(file: Any) -> bytes:
  """The bytes of a path, or of a file that is open."""
  try:
    if hasattr(file, "read"):
      data = file.read()
      if isinstance(data, str):
        raise BadImage("the file is open as text, expected mode 'rb'")
      return data
    found = os.stat(file)
    if found.st_size > MAX_BYTES:
      raise BadImage(f"the image file is larger than {MAX_BYTES // 10**6} MB")
    # Reading a pipe would never end; `open` refuses a folder.
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
      raise BadImage("it is no regular file")
    with open(file, "rb") as opened:
      return opened.read()
  except OSError as error:
    raise BadImage(error.strerror or str(error)) from error
  except ValueError as error:  # a NUL in a name, a file that was closed
    raise BadImage(str(error)) from error


def _pixels(value: Any) -> np.ndarray:
  """An array as Pillow takes it: uint8 [H,W] or [H,W,C], C from 2 to 4."""
  try:
    array = np.asarray(value)
  except (TypeError, RuntimeError) as error:  # of torch: with a gradient, ...
    raise BadImage(f"numpy cannot read it ({error})") from error
  _check_array(array)
  pixels = images_lib.to_8_bits(array)
  return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels


def _check_array(array: Any, *, stacked: bool = False) -> None:
  """Refuses what is not an image, or no stack of them where that may be."""
  ranks = (2, 3, 4) if stacked else (2, 3)
  *outer, last = shape = tuple(array.shape)
  if len(shape) not in ranks or (len(outer) > 1 and last not in (1, 2, 3, 4)):
    raise BadImage(
      "expected [H,W] or [H,W,C] for one image, C from 1 to 4, and [N,H,W,C]"
      " or a list for many"
    )
  if 0 in shape[-3:]:
    raise BadImage("the image has no pixels")
  kind = getattr(array.dtype, "kind", "u")  # torch's have none
  if kind == "f":
    raise BadImage(
      "expected uint8 of 0 to 255, or uint16 of 0 to 65,535; (255 *"
      " x).astype('uint8') makes them of 0 to 1"
    )
  if kind not in "bui":
    raise BadImage("expected uint8 or uint16")


def _shown(value: Any) -> str:
  """What a message calls a value."""
  if isinstance(value, _BYTES):  # a memoryview has a shape too
    return f"{len(value):,} bytes"
  if _is_array(value):
    return f"an array {value.dtype} {list(value.shape)}"
  if isinstance(value, Image.Image):
    return f"a PIL image of mode {value.mode} and size {value.size}"
  if isinstance(value, (str, os.PathLike)):
    return _SHORT.repr(os.fspath(value))
  text = " ".join(_SHORT.repr(value).split())  # some have many lines
  return f"{text} ({type(value).__name__})"


def explained(batches: Iterator[T]) -> Iterator[T]:
  """Yields what processes read; each runs the calling script once more.

  So a script has its calls below `if __name__ == "__main__":`.

  Raises:
    UserError: a process has ended before its time.
  """
  try:
    yield from batches
  except RuntimeError as error:
    raise UserError(
      f"reading failed: {error} (a reader that was killed may have been out of"
      " memory: fewer workers; a script that asks for workers does so below"
      ' `if __name__ == "__main__":`, because each runs it once more)'
    ) from error


def batch_rows(asked: int, rows: int) -> int:
  """Rows of a batch, as many on each device: hardly more than there are."""
  devices = jax.local_device_count()
  size = min(asked, -(-max(rows, 1) // 64) * 64)
  return -(-size // devices) * devices
