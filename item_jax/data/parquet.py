"""A Parquet file in, the fields of its rows out; what is broken is an error of
the whole file, for none of its parts can be trusted then."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from item_jax.errors import UserError


def open_parquet(path: Path):
  """A pyarrow.parquet.ParquetFile.

  Raises:
    UserError: it is none, or pyarrow is not installed.
  """
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError as error:
    raise UserError(
      f"reading {path} takes pyarrow: pip install -e '.[parquet]' in item-jax's"
      " clone"
    ) from error
  try:
    file = pq.ParquetFile(path)
    file.schema_arrow.names  # noqa: B018 - names of columns may be broken too
    return file
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{path} is no Parquet file: {error}") from error


def read_parquet(
  file, path: Path, found: dict[str, str]
) -> Iterator[dict[str, Any]]:
  """Yields {column: value} of each row.

  Args:
    file: as `open_parquet` gave it.
    path: for errors.
    found: {column: its name in the file}.

  Raises:
    UserError: a part of the file is broken, or is not there.
  """
  import pyarrow as pa

  left = file.metadata.num_rows
  try:
    for batch in file.iter_batches(1024, columns=list(found.values())):
      values = {}
      for column, name in found.items():
        array = batch.column(batch.schema.get_field_index(name))
        if pa.types.is_dictionary(array.type):
          array = array.dictionary_decode()
        if pa.types.is_string(array.type):
          # As bytes: invalid UTF-8 must cost its row, not the batch.
          array = array.cast(pa.binary())
        elif pa.types.is_large_string(array.type):
          array = array.cast(pa.large_binary())
        values[column] = array.to_pylist()
      for row in range(len(batch)):
        yield {column: value[row] for column, value in values.items()}
      left -= len(batch)
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{path} is broken or cut short: {error}") from error
  if left:
    raise UserError(
      f"{path} is broken: it speaks of {file.metadata.num_rows:,} rows, its"
      f" parts hold {file.metadata.num_rows - left:,}"
    )
