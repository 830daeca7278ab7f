"""Opens catalogue files of any format as one table of named cells."""

import contextlib
import glob
import importlib
import io
import json
import lzma
import os
import unicodedata
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.data import delimited, parquet
from item_jax.errors import UserError

_PEEK = 100  # JSON lines looked at to learn the columns
_SHOWN = 40  # columns in an error, and letters of each
_NONE = "__HIVE_DEFAULT_PARTITION__"
# What the libraries raise on packed files that are cut short or altered.
_PACKED = (EOFError, OSError, zlib.error, lzma.LZMAError)

Cells = dict[str, Any]


class Table(NamedTuple):
  """One file.

  path: of the file. names: of its columns, in order. open: given a list of
  these names, yields the cells of each row in that order, or the reason why
  the row cannot be read.
  whole: whether each row has all columns; lines of JSON may leave some out.
  quoting: how quotes are read; "" where the format has no such question.
  check: refuses columns whose types cannot hold what they are meant for, given
  as {what for: name}; formats without types have no such question.
  beside: columns that the folders' names hold, as in color=red/part-0.parquet.
  """

  path: Path
  names: list[str]
  open: Callable[[Sequence[str]], Iterator[Sequence | str]]
  whole: bool = True
  quoting: str = ""
  check: Callable[[Mapping[str, str]], None] = lambda columns: None
  beside: Mapping[str, str] = {}


def find_files(catalogue: str | os.PathLike) -> list[tuple[Path, Cells]]:
  """Lists the files of a catalogue, and the columns in their folders' names.

  Args:
    catalogue: a file; a folder of parts, as Spark writes them; or a pattern
      such as parts/*.csv.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: none of them is of a known kind.
  """
  path = Path(catalogue)
  if path.is_file():
    find_kind(path)
    return [(path, {})]
  if path.is_dir():
    found = [
      (part, _partition(part.relative_to(path)))
      for part in sorted(path.rglob("*"))
      if part.is_file()
      and part.name[0] not in "._"  # _SUCCESS, .crc
      and delimited.suffix(part) in _READERS
    ]
    if not found:
      raise UserError(
        f"{path} is a folder without a file named {', '.join(_READERS)}"
      )
    return found
  paths = sorted(glob.glob(os.fspath(catalogue), recursive=True))
  if not paths:
    find_kind(path)
    raise FileNotFoundError(f"no catalogue {path}: there is no such file")
  return [file for one in paths for file in find_files(one)]


def find_kind(path: Path) -> str:
  """The ending that tells the format of a file.

  Raises:
    UserError: it is of no known kind.
  """
  kind = delimited.suffix(path)
  if kind not in _READERS:
    raise UserError(
      f"{path} is of an unknown kind; a catalogue is named"
      f" {', '.join(sorted(_READERS))}, or such a name and .gz or .zst"
    )
  return kind


def _partition(path: Path) -> Cells:
  """The columns that the names of folders hold."""
  pairs = (part.partition("=") for part in path.parts[:-1] if "=" in part)
  return {
    name: None if value == _NONE else urllib.parse.unquote(value)
    for name, _, value in pairs
  }


def open_tables(
  catalogue: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  quoting: str = "auto",
) -> list[Table]:
  """Opens the files of a catalogue; their headers are read.

  Args:
    catalogue: as `find_files` takes it, or several of them.
    quoting: of `delimited.QUOTING`.

  Raises:
    FileNotFoundError, UserError: as the message says.
  """
  if quoting not in delimited.QUOTING:
    raise UserError(
      f"quoting={quoting!r}: known are {', '.join(delimited.QUOTING)}"
    )
  several = (
    [catalogue] if isinstance(catalogue, (str, os.PathLike)) else (catalogue)
  )
  tables = []
  for path, beside in [file for one in several for file in find_files(one)]:
    table = _READERS[find_kind(path)](path, quoting)
    both = sorted(set(beside) & set(table.names))
    if both:
      raise UserError(
        f"{path} has the columns {_listed(both)} twice: in its folder's name"
        " and inside"
      )
    tables.append(table._replace(names=[*table.names, *beside], beside=beside))
  _check_alike(tables)
  return tables


def read_cells(
  table: Table, columns: Mapping[str, str]
) -> Iterator[Cells | str]:
  """Reads a table row by row; memory does not grow with its length.

  Args:
    columns: {column: its name in the header}, as `match_columns` finds them.

  Yields:
    {column: cell} of each row, or the reason why it cannot be read.
  """
  inside = {c: n for c, n in columns.items() if n not in table.beside}
  beside = {c: table.beside[n] for c, n in columns.items() if c not in inside}
  for cells in table.open(list(inside.values())):
    if isinstance(cells, str):
      yield cells
    elif beside:
      yield dict(zip(inside, cells, strict=True)) | beside
    else:
      yield dict(zip(inside, cells, strict=True))


def _check_alike(tables: Sequence[Table]) -> None:
  """Refuses parts of a catalogue that have other columns than the first."""
  whole = [table for table in tables if table.whole]
  for table in whole[1:]:
    if _forms(table) != _forms(whole[0]):
      raise UserError(
        f"{table.path} has the columns {_listed(table.names)}, but"
        f" {whole[0].path} has {_listed(whole[0].names)}: expected parts of"
        " one table"
      )


def _forms(table: Table) -> set[str]:
  return {_composed(name) for name in table.names}


def match_columns(
  names: Sequence[str],
  known: Sequence[str],
  columns: Mapping[str, str],
  source: str | os.PathLike,
) -> dict[str, str]:
  """Finds the wanted columns in a header.

  Args:
    names: the header.
    known: the columns wanted; at least a title or an image must be there.
    columns: from one of these to the file's own name for it.
    source: for errors.

  Returns:
    {column: its name in the header} of those that are there.

  Raises:
    UserError: the columns are not as expected.
  """
  strange = sorted(set(columns) - set(known))
  if strange:
    raise UserError(
      f"--column maps {', '.join(strange)}, known are {', '.join(known)}"
    )
  by_form: dict[str, str] = {}
  for name in names:
    by_form.setdefault(_composed(name), name)
  columns = {
    ours: by_form.get(_composed(theirs), theirs)
    for ours, theirs in columns.items()
  }
  absent = sorted(set(columns.values()) - set(names))
  if absent:
    raise UserError(
      f"--column names {_listed(absent)}, but {source} has the columns"
      f" {_listed(names)}"
    )
  counts = Counter(names)
  wanted = {
    column: columns.get(column, by_form.get(column, column)) for column in known
  }
  twice = [name for name in wanted.values() if counts[name] > 1]
  if twice:
    raise UserError(f"{source} has several columns named {_listed(twice)}")
  found = {column: name for column, name in wanted.items() if name in counts}
  if "title" not in found and "image" not in found:
    raise UserError(
      f"{source} has neither a column title nor image, it has"
      f" {_listed(names)}; map others with --column title=NAME"
    )
  return found


def _composed(name: str) -> str:
  """A name in one Unicode form: what looks the same is the same."""
  return unicodedata.normalize("NFC", " ".join(name.split()))


def _listed(names):
  """For an error, whatever file it was that was taken for a table."""
  texts = [
    (name if name.isprintable() else ascii(name)[1:-1])[:_SHOWN]
    for name in list(names)[:_SHOWN]
  ]
  more = len(names) - len(texts)
  return ", ".join(texts) + (f" and {more:,} more" if more else "")


def open_bytes(path: Path) -> io.BufferedIOBase:
  """Opens a file, unpacked where its name ends with .gz, .zst and the like."""
  file = path.open("rb")
  if path.suffix.lower() not in delimited.PACKED:
    return file
  import fsspec.compression  # which takes a while
  import fsspec.utils

  packing = fsspec.utils.infer_compression(os.fspath(path).lower())
  return io.BufferedReader(fsspec.compression.compr[packing](file, mode="rb"))


@contextlib.contextmanager
def _unbroken(path: Path) -> Iterator[None]:
  """Makes an error of its own of a packed file that is cut short."""
  try:
    yield
  except _PACKED as error:
    raise UserError(f"{path} is broken or cut short: {error}") from error


# ---- CSV and TSV ----


def _open_text(path: Path) -> io.TextIOWrapper:
  return io.TextIOWrapper(
    open_bytes(path), "utf-8-sig", "surrogateescape", newline=""
  )


def _open_delimited(path, quoting):
  with _unbroken(path), open_bytes(path) as file:
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
      raise UserError(f"{path} is UTF-16, expected UTF-8: save it as such")
  with _unbroken(path), _open_text(path) as file:
    lines = delimited.Lines(file)
    header = delimited.read_header(lines, path, quoting)
    found = quoting
    if quoting == "auto":
      found = delimited.find_quoting(lines, header, path)

  def read(columns):
    with _unbroken(path), _open_text(path) as file:
      lines = delimited.Lines(file)
      delimited.read_header(lines, path, found)
      places = [header.names.index(name) for name in columns]
      for row in delimited.read_rows(lines, header, found):
        yield row if isinstance(row, str) else [row[place] for place in places]

  return Table(path, header.names, read, quoting=found)


# ---- JSON lines ----


def _open_json(path, quoting):
  del quoting
  names: dict[str, None] = {}
  with _unbroken(path), open_bytes(path) as file:
    if file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
      raise UserError(f"{path} is UTF-16, expected UTF-8: save it as such")
    for _ in range(_PEEK):
      value = _parse(file.readline(delimited.MAX_LINE))
      if isinstance(value, dict):
        names.update(dict.fromkeys(value))
  if not names:
    raise UserError(
      f"{path}: none of the first lines is a JSON object, expected one a line"
    )

  def read(columns):
    with _unbroken(path), open_bytes(path) as file:
      while line := file.readline(delimited.MAX_LINE):
        if len(line) == delimited.MAX_LINE:
          while line and not line.endswith(b"\n"):
            line = file.readline(delimited.MAX_LINE)
          yield (
            "not readable as JSON: a line of more than"
            f" {delimited.MAX_LINE:,} bytes"
          )
          continue
        if not line.strip():
          continue
        value = _parse(line)
        if isinstance(value, dict):
          yield [value.get(name) for name in columns]
        else:
          yield f"not readable as JSON: {value}"

  return Table(path, list(names), read, whole=False)


def _parse(line: bytes) -> Cells | str:
  """The object on a line, or what is wrong with it."""
  text = line.decode("utf-8-sig", "surrogateescape")
  try:
    value = json.loads(text)
  except RecursionError:
    return "nested too deeply"
  except ValueError as error:
    return str(error)
  return value if isinstance(value, dict) else "the line is no object"


# ---- Feeds in XML, and JSON in one piece ----


def _open_whole(module, function):
  """A reader of what is no table: a function gives its names and rows."""

  def open_whole(path, quoting):
    del quoting
    read = getattr(
      importlib.import_module(f"item_jax.data.sources.{module}"), function
    )
    with _unbroken(path), open_bytes(path) as file:
      names, _ = read(file, os.fspath(path))

    def rows(columns):
      with _unbroken(path), open_bytes(path) as file:
        _, found = read(file, os.fspath(path))
        for row in found:
          if isinstance(row, str):
            yield row
          else:
            yield [row.get(name) for name in columns]

    return Table(path, names, rows, whole=False)

  return open_whole


# ---- Parquet ----


def _open_parquet(path, quoting):
  del quoting
  file = parquet.open_parquet(path)
  return Table(
    path,
    list(file.schema_arrow.names),
    lambda columns: parquet.read_parquet(path, columns),
    check=lambda columns: parquet.check_types(path, columns),
  )


_READERS = {
  ".csv": _open_delimited,
  ".tsv": _open_delimited,
  ".jsonl": _open_json,
  ".ndjson": _open_json,
  ".parquet": _open_parquet,
  ".json": _open_whole("schema", "read_json"),
  ".jsonld": _open_whole("schema", "read_json"),
  ".xml": _open_whole("google", "read_xml"),
}
