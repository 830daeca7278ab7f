"""Reads Parquet files; a corrupt part is an error of the whole file."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from item_jax.errors import UserError
from item_jax.registry import import_extra

if TYPE_CHECKING:
  import pyarrow.parquet as pq

_ROWS = 1024  # read at once
_ROWS_OF_IMAGES = 16  # the same, where rows hold whole images


def open_parquet(path: Path) -> "pq.ParquetFile":
  """Opens a file as a pyarrow.parquet.ParquetFile.

  Raises:
    UserError: it is no Parquet file, or pyarrow is not installed.
  """
  names = ("pyarrow", "pyarrow.parquet")
  pa, pq = (
    import_extra(name, f"reading {path} takes pyarrow", "parquet")
    for name in names
  )
  try:
    file = pq.ParquetFile(path)
    file.schema_arrow.names  # noqa: B018 - names of columns may be corrupt too
    return file
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{path} is no Parquet file: {error}") from error


def check_types(path: Path, columns: Mapping[str, str]) -> None:
  """Refuses columns of an unsuitable type.

  Args:
    columns: {our column, as "product_id": its name in the file}.

  Raises:
    UserError: names the type that the file has and what was expected.
  """
  schema = open_parquet(path).schema_arrow
  for column, name in columns.items():
    kind = _value_type(schema.field(name).type)
    if not _suits(column, kind):
      raise UserError(
        f"{path}: the column {name} is of the type {kind}, expected"
        f" {_EXPECTED.get(column, 'text')}"
      )


_EXPECTED = {
  "listing_id": "text, whole numbers, a date or a UUID",
  "product_id": "text, whole numbers, a date or a UUID",
  "image": "a path as text, the bytes of an image file, or a struct of bytes"
  " and path; several images of a product are rows of their own",
  "title": "text",
  "category": "a path as text, or a list of its levels",
  "split": "the name of a split as text",
}


def _value_type(kind):
  """Returns the type of the values, without dictionaries and extensions."""
  import pyarrow as pa

  if pa.types.is_dictionary(kind):
    return _value_type(kind.value_type)
  if isinstance(kind, pa.BaseExtensionType) and not _is_uuid(kind):
    # A number's meaning is in its extension type: a period, an enumeration.
    storage = _value_type(kind.storage_type)
    return storage if _is_text(storage) or _is_bytes(storage) else kind
  return kind


def _is_uuid(kind) -> bool:
  return getattr(kind, "extension_name", "") == "arrow.uuid"


def _suits(column: str, kind) -> bool:
  import pyarrow as pa

  t = pa.types
  text = t.is_null(kind) or _is_text(kind)
  number = t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
  identity = (
    t.is_date(kind)
    or t.is_timestamp(kind)
    or _is_uuid(kind)
    or (t.is_fixed_size_binary(kind) and kind.byte_width == 16)
  )
  if column == "image":
    return text or _is_bytes(kind) or _is_image_struct(kind)
  if column == "category":
    levels = kind.value_type if _is_list(kind) else kind
    levels = levels.value_type if _is_list(levels) else levels
    levels = _value_type(levels)
    return text or number or _is_text(levels) or t.is_integer(levels)
  if column == "split":
    return text or number or t.is_boolean(kind)
  return text or _is_bytes(kind) or number or identity  # an id or a title


def _is_text(kind) -> bool:
  return str(kind) in ("string", "large_string", "string_view")


def _is_bytes(kind) -> bool:
  return str(kind) in ("binary", "large_binary", "binary_view")


def _is_list(kind) -> bool:
  return str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))


def _is_image_struct(kind) -> bool:
  if not str(kind).startswith("struct<"):
    return False
  names = {field.name for field in kind}
  return bool(names & {"bytes", "path"}) and names <= {"bytes", "path"}


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple]:
  """Yields the values of each row, in the order of the columns.

  Floats of fewer bits than Python's come as numpy's, to keep their digits.

  Raises:
    UserError: a part of the file is corrupt, or missing.
  """
  import pyarrow as pa

  file = open_parquet(path)
  rows = left = file.metadata.num_rows
  types = [file.schema_arrow.field(name).type for name in columns]
  large = any(_is_bytes(t) or _is_image_struct(t) for t in types)
  try:
    for batch in file.iter_batches(
      _ROWS_OF_IMAGES if large else _ROWS, columns=list(columns)
    ):
      values = [to_values(batch.column(name)) for name in columns]
      yield from zip(*values, strict=True) if columns else [()] * len(batch)
      left -= len(batch)
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{path} is broken or cut short: {error}") from error
  if left:
    raise UserError(
      f"{path} is broken: it states {rows:,} rows, its parts hold"
      f" {rows - left:,}"
    )


def to_values(array) -> list:
  """Converts a column to Python's values, short floats to numpy's."""
  import pyarrow as pa

  t = pa.types
  if t.is_dictionary(array.type):
    array = array.dictionary_decode()
  if isinstance(array.type, pa.BaseExtensionType) and not _is_uuid(array.type):
    array = array.storage
  kind = array.type
  if _is_text(kind):
    # Via bytes: invalid UTF-8 must cost its row, not the batch.
    raw = array.cast(pa.string()) if t.is_string_view(kind) else array
    large = t.is_large_string(raw.type)
    raw = raw.cast(pa.large_binary() if large else pa.binary())
    return [
      None if value is None else value.decode("utf-8", "surrogateescape")
      for value in raw.to_pylist()
    ]
  if t.is_float16(kind) or t.is_float32(kind):
    return list(array.to_numpy(zero_copy_only=False))
  if t.is_timestamp(kind) and kind.unit == "ns":  # which Python has not
    array = array.cast(pa.string())
  if t.is_fixed_size_binary(kind) and kind.byte_width == 16:
    return [v and uuid.UUID(bytes=v) for v in array.to_pylist()]
  return array.to_pylist()
