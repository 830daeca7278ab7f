"""A table file in, the fields of its rows out, or what is wrong with one."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from item_jax.data.parquet import open_parquet, read_parquet
from item_jax.errors import UserError

_LINE = 4_000_000  # characters; more is no row of a catalogue
_PEEK = 100  # JSON lines looked at to learn the columns
_FIELD = 1_000_000  # characters; an unclosed quote ends there
_SHOWN = 40  # columns in an error, and letters of each


def read_fields(
  path: str | os.PathLike, *, known: tuple[str, ...], columns: dict[str, str]
) -> Iterator[dict[str, Any] | str]:
  """Reads a table row by row; memory does not grow with its length.

  Args:
    path: .csv, .tsv, .jsonl (also .ndjson) or .parquet.
    known: the columns wanted; at least a title or an image must be there.
    columns: from one of these to the file's own name for it.

  Yields:
    {column: value} of the columns that are there, or the reason why a row
    cannot be read.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: unknown kind of file, or its columns are not as expected.
  """
  path = Path(path)
  strange = sorted(set(columns) - set(known))
  if strange:
    raise UserError(
      f"--column maps {', '.join(strange)}, known are {', '.join(known)}"
    )
  wanted = {column: columns.get(column, column) for column in known}
  return _READERS[_kind(path)](path, wanted, columns)


def estimate_rows(path: str | os.PathLike) -> int:
  """About how many rows there are, for showing the time left."""
  path = Path(path)
  if _kind(path) == "parquet":
    return open_parquet(path).metadata.num_rows
  lines = 0
  with open(path, "rb") as file:
    while block := file.read(1 << 20):
      lines += block.count(b"\n")
  return lines


def _kind(path):
  kind = _SUFFIXES.get(path.suffix.lower())
  if kind is None:
    raise UserError(
      f"{path} is of an unknown kind; a catalogue is named"
      f" {', '.join(sorted(_SUFFIXES))}"
    )
  if not path.is_file():
    raise FileNotFoundError(f"no catalogue {path}: there is no such file")
  return kind


def _places(names, wanted, columns, path):
  """The file's name of each column that is there, both sides checked."""
  absent = sorted(set(columns.values()) - set(names))
  if absent:
    raise UserError(
      f"--column names {_listed(absent)}, but {path} has the columns"
      f" {_listed(names)}"
    )
  counts = Counter(names)
  twice = [name for name in wanted.values() if counts[name] > 1]
  if twice:
    raise UserError(f"{path} has several columns named {_listed(twice)}")
  found = {column: name for column, name in wanted.items() if name in counts}
  if "title" not in found and "image" not in found:
    raise UserError(
      f"{path} has neither a column title nor image, it has"
      f" {_listed(names)}; map others with --column title=NAME"
    )
  return found


def _listed(names):
  """For an error, whatever file it was that was taken for a table."""
  texts = [
    (name if name.isprintable() else ascii(name)[1:-1])[:_SHOWN]
    for name in names[:_SHOWN]
  ]
  more = len(names) - len(texts)
  return ", ".join(texts) + (f" and {more:,} more" if more else "")


def _read_csv(path, wanted, columns):
  with open(path, "rb") as file:
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
      raise UserError(f"{path} is UTF-16, expected UTF-8: save it as such")
  with open(
    path, newline="", encoding="utf-8-sig", errors="surrogateescape"
  ) as file:
    lines = _Lines(file)
    if path.suffix.lower() == ".tsv":
      delimiter = "\t"
    else:
      first = lines.peek()
      delimiter = ";" if ";" in first and "," not in first else ","
    # Strict: a stray quote must cost its own row, not swallow the next ones.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    csv.field_size_limit(_FIELD)  # of columns that nobody asked for, too
    try:
      names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
      raise UserError(f"{path}: its header cannot be read: {error}") from error
    if not names:
      raise UserError(f"{path} is empty, expected a header and rows")
    found = _places(names, wanted, columns, path)
    places = [(column, names.index(name)) for column, name in found.items()]
    while True:
      lines.start_row()
      try:
        row = next(reader)
      except StopIteration:
        return
      except csv.Error as error:
        lines.give_back()
        yield f"not readable as CSV: {error}"
        continue
      if not row:
        continue  # an empty line
      if len(row) != len(names):
        lines.give_back()
        yield (
          f"wrong number of fields: {len(row)}, the header has {len(names)}"
        )
        continue
      yield {column: row[place] for column, place in places}


class _Lines:
  """Lines for csv.reader, which can be given back but for a row's first.

  An unclosed quote makes the reader take following rows for the rest of a
  field. What it took is read again, so that the quote costs one row.
  """

  def __init__(self, file):
    self._file = file
    self._again: list[str] = []
    self._taken: list[str] = []

  def __iter__(self):
    return self

  def __next__(self):
    line = self._again.pop() if self._again else self._file.readline(_LINE)
    if not line:
      raise StopIteration
    if len(line) == _LINE:
      while line and line[-1] not in "\r\n":
        line = self._file.readline(_LINE)
      raise csv.Error(f"a line of more than {_LINE:,} characters")
    self._taken.append(line)
    return line

  def peek(self):
    line = self._file.readline(_LINE)
    self._again.append(line)
    return line

  def start_row(self):
    self._taken = []

  def give_back(self):
    self._again.extend(reversed(self._taken[1:]))


def _read_json(path, wanted, columns):
  names: list[str] = []
  with open(path, "rb") as file:
    for _ in range(_PEEK):
      value = _json(file.readline(_LINE))
      if isinstance(value, dict):
        names += [name for name in value if name not in names]
  if not names:
    raise UserError(
      f"{path}: none of the first lines is a JSON object, expected one a line"
    )
  _places(names, wanted, columns, path)
  with open(path, "rb") as file:
    while line := file.readline(_LINE):
      if len(line) == _LINE:
        while line and not line.endswith(b"\n"):
          line = file.readline(_LINE)
        yield f"not readable as JSON: a line of more than {_LINE:,} bytes"
        continue
      if not line.strip():
        continue
      value = _json(line)
      if isinstance(value, dict):
        # Of all that are wanted: lines may leave out what they have not.
        yield {column: value.get(name) for column, name in wanted.items()}
      else:
        yield f"not readable as JSON: {value}"


def _json(line: bytes) -> dict[str, Any] | str:
  """The object on a line, or what is wrong with it."""
  text = line.decode("utf-8-sig", "surrogateescape")
  try:
    value = json.loads(text)
  except RecursionError:
    return "nested too deeply"
  except ValueError as error:
    return str(error)
  return value if isinstance(value, dict) else "the line is no object"


def _read_parquet(path, wanted, columns):
  file = open_parquet(path)
  found = _places(file.schema_arrow.names, wanted, columns, path)
  return read_parquet(file, path, found)


_READERS = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet}
_SUFFIXES = {
  ".csv": "csv",
  ".tsv": "csv",
  ".jsonl": "json",
  ".ndjson": "json",
  ".parquet": "parquet",
}
