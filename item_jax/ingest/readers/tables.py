"""Opens the files of a catalogue as one table of named cells."""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np

from item_jax.errors import UserError, check_path, name_kind
from item_jax.ingest.readers import delimited, parquet
from item_jax.ingest.readers.formats import (
  FORMATS,
  FORMS,
  READERS,
  Table,
  open_rows,
)
from item_jax.ingest.readers.parts import (
  check_once,
  find_files,
  find_splits,
)
from item_jax.registry import look_up

_SHOWN = 40  # columns in an error, and letters of each

Cells = dict[str, Any]


def reusable(catalogue: Any) -> Any:
  """Makes rows that can be read once readable several times, in memory."""
  if isinstance(catalogue, Iterator):
    return list(catalogue)
  if hasattr(catalogue, "iterrows"):  # a DataFrame of pandas
    return _read_frame(catalogue)
  if hasattr(catalogue, "to_arrow"):  # of Polars
    catalogue = catalogue.to_arrow()
  if hasattr(catalogue, "to_batches"):  # a table of pyarrow
    names = _once(catalogue.column_names)
    return [
      dict(zip(names, row, strict=True))
      for batch in catalogue.to_batches()
      for row in zip(*map(parquet.to_values, batch.columns), strict=True)
    ]
  return catalogue


def _once(names: Iterable[Any]) -> list[Any]:
  names = list(names)
  if twice := {name for name in names if names.count(name) > 1}:
    raise UserError(
      "the data frame has several columns named"
      f" {_listed(sorted(map(str, twice)))}"
    )
  return names


def _read_frame(frame: Any) -> list[Cells]:
  """Converts a DataFrame to rows; a float of few bits stays one of numpy's."""
  names = _once(frame.columns)
  columns = []
  for _, column in frame.items():
    kind = getattr(column.dtype, "numpy_dtype", column.dtype)  # of Float32
    if kind in (np.float16, np.float32):  # as objects they become Python's
      columns.append(list(column.to_numpy(kind, na_value=np.nan)))
    else:
      columns.append(column.astype(object).where(column.notna(), None).tolist())
  return [
    dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
  ]


def find_paths(catalogue: Any) -> list[str | os.PathLike] | None:
  """Lists the paths of a catalogue; None where it consists of rows.

  Raises:
    UserError: it consists of neither.
  """
  if isinstance(catalogue, (str, os.PathLike)):
    return [catalogue]
  if isinstance(catalogue, Mapping) or not isinstance(catalogue, Iterable):
    raise UserError(f"catalogue={name_kind(catalogue)}: expected {FORMS}")
  first = next(iter(catalogue), None)
  if not isinstance(first, (str, os.PathLike)):
    return None
  paths = [*catalogue]
  for path in paths:
    check_path(path, "catalogue")
  return paths


def find_kind(path: Path) -> str:
  """Returns the ending of a file's name that tells its format.

  Raises:
    UserError: the ending is unknown.
  """
  kind = delimited.suffix(path)
  if kind not in READERS:
    raise UserError(
      f"{path} is of an unknown kind; a catalogue is named"
      f" {', '.join(sorted(READERS))}, or such a name and .gz or .zst;"
      " --format says what another one is, as --format=webdataset of a .tar"
    )
  return kind


def open_tables(
  catalogue: str | os.PathLike | Iterable[str | os.PathLike | Mapping],
  *,
  quoting: str = "auto",
  file_format: str = "auto",
) -> list[Table]:
  """Opens the files of a catalogue and reads their headers.

  Args:
    catalogue: as `find_files` takes it, several of these, or rows: mappings of
      column names to cells, which can be iterated several times.
    quoting: one of `delimited.QUOTING`.
    file_format: one of `formats.FORMATS`, or "package.module:NAME" of a
      function (path, quoting) -> Table; "auto" detects it by their names.

  Raises:
    NotFoundError, UserError: as the message says.
  """
  if quoting not in delimited.QUOTING:
    raise UserError(
      f"quoting={quoting!r}: known are {', '.join(delimited.QUOTING)}"
    )
  several = find_paths(catalogue)
  if several is None:
    return [open_rows(cast(Iterable, catalogue))]
  reader = None
  if file_format != "auto":
    reader = look_up(file_format, FORMATS, option="--format")
  files = [
    file
    for one in several
    for file in find_files(one, any_name=reader is not None)
  ]
  check_once([path for path, _ in files], any_name=reader is not None)
  tables = []
  for path, beside in files:
    table = (reader or READERS[find_kind(path)])(path, quoting)
    tables.append(table._replace(names=[*table.names, *beside], beside=beside))
  _check_alike(tables)
  return tables


def add_splits(tables: list[Table]) -> list[Table]:
  """Gives the files of one table the splits in their names.

  Those of a table with a column `split` have none.

  Raises:
    UserError: as `find_splits`.
  """
  if any(composed(name) == "split" for t in tables for name in t.names):
    return tables
  splits = find_splits([table.path for table in tables])
  if not splits:
    return tables
  return [
    table._replace(
      names=[*table.names, "split"], beside={**table.beside, "split": split}
    )
    for table, split in zip(tables, splits, strict=True)
  ]


def read_cells(
  table: Table, columns: Mapping[str, str]
) -> Iterator[Cells | str]:
  """Reads a table row by row, in constant memory.

  Args:
    columns: {our column: its name in the header}, from `match_columns`.

  Yields:
    {our column: cell} of each row, or the reason why it cannot be read.

  Raises:
    UserError: a reader of another package gave other cells than expected.
  """
  inside = {c: n for c, n in columns.items() if n not in table.beside}
  beside = {c: table.beside[n] for c, n in columns.items() if c not in inside}
  for row, cells in enumerate(table.open(list(inside.values())), start=1):
    if isinstance(cells, str):
      yield cells
      continue
    try:
      named = dict(zip(inside, cells, strict=True))
    except (TypeError, ValueError) as error:
      found = len(cells) if isinstance(cells, Sized) else name_kind(cells)
      raise UserError(
        f"{table.path}: its reader gave {found} as the cells of row {row}:"
        f" expected {len(inside)}, of {_listed(inside.values())}"
      ) from error
    yield named | beside if beside else named


def _check_alike(tables: Sequence[Table]) -> None:
  """Refuses parts of a catalogue with other columns than the first part."""
  whole = [table for table in tables if table.whole]
  for table in whole[1:]:
    if _forms(table) != _forms(whole[0]):
      raise UserError(
        f"{table.path} has the columns {_listed(table.names)}, but"
        f" {whole[0].path} has {_listed(whole[0].names)}: expected parts of"
        " one table"
      )


def _forms(table: Table) -> set[str]:
  return {composed(name) for name in table.names}


def match_columns(
  names: Sequence[str],
  known: Sequence[str],
  columns: Mapping[str, str],
  source: str | os.PathLike,
  *,
  whole: bool = True,
) -> dict[str, str]:
  """Finds the wanted columns in a header.

  Args:
    names: the header.
    known: our columns; at least a title or an image must be there.
    columns: {our column: the file's own name for it}.
    source: the file's name, for errors.
    whole: whether each row has all columns. Else names that differ in case
      alone may be one column, which a part of the rows spells differently.

  Returns:
    {our column: its name in the header} of those that are there.

  Raises:
    UserError: the columns are not as expected.
  """
  strange = sorted(set(columns) - set(known))
  if strange:
    raise UserError(
      f"--column maps {', '.join(strange)}, known are {', '.join(known)}"
    )
  columns = {ours: _named(names, theirs) for ours, theirs in columns.items()}
  absent = sorted(set(columns.values()) - set(names))
  if absent:
    raise UserError(
      f"--column names {_listed(absent)}, but {source} has the columns"
      f" {_listed(names)}"
    )
  wanted = {c: columns.get(c) or _named(names, c) for c in known}
  for ours, name in wanted.items():
    alike = [n for n in names if composed(n) == composed(name)]
    chosen = name in names and (whole or ours in columns)
    if names.count(name) > 1 or (len(alike) > 1 and not chosen):
      raise UserError(f"{source} has several columns named {_listed(alike)}")
  found = {column: name for column, name in wanted.items() if name in names}
  if "title" not in found and "image" not in found:
    raise UserError(
      f"{source} has neither a column title nor image, it has"
      f" {_listed(names)}; map others with --column title=NAME"
    )
  return found


def _named(names: Sequence[str], name: str) -> str:
  """Returns a name as the header spells it, where exactly one column has it."""
  alike = [n for n in names if composed(n) == composed(name)]
  return alike[0] if name not in names and len(alike) == 1 else name


def composed(name: str) -> str:
  """Normalizes a name: blanks, case and Unicode forms make no difference."""
  return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def _listed(names):
  """Lists names for an error, printable whatever the file holds."""
  texts = [
    (name if name.isprintable() else ascii(name)[1:-1])[:_SHOWN]
    for name in list(names)[:_SHOWN]
  ]
  more = len(names) - len(texts)
  return ", ".join(texts) + (f" and {more:,} more" if more else "")
