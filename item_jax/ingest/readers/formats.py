"""Opens files of every format that a catalogue may have, as tables."""

import contextlib
import importlib
import io
import json
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.errors import UserError, name_kind
from item_jax.ingest.readers import delimited, parquet
from item_jax.ingest.readers.quoting import find_quoting

if sys.version_info >= (3, 14):
  from compression.zstd import ZstdError
else:
  from backports.zstd import ZstdError

PUBLIC_SETS = (
  *("abo", "amazon_reviews_2023", "fashion200k", "shopee"),
  *("stanford_online_products", "webdataset"),
)
_COLUMNS = ("listing_id", "product_id", "image", "title", "category", "split")
# What a catalogue may be, for errors.
FORMS = (
  "files, a data frame, or rows: mappings of column names to cells, as"
  " [{'title': 'red mug', 'image': 'mug.jpg'}]"
)
# Raised for packed files that are cut short or corrupt.
_PACKED = (EOFError, OSError, zlib.error, lzma.LZMAError, ZstdError)


class Table(NamedTuple):
  """One file of a catalogue, as a table.

  path: of the file.
  names: of its columns, in order.
  open: given some of these names, yields the cells of each row in their order,
    or the reason why the row cannot be read.
  whole: whether each row has all columns; lines of JSON may leave some out.
  quoting: how quotes are read; "" for a format without quotes.
  check: refuses columns of unsuitable types, given as {our column: its name};
    formats without types accept all.
  beside: columns in the names of folders, as in color=red/part-0.parquet,
    and the split in a file's name.
  """

  path: Path
  names: list[str]
  open: Callable[[Sequence[str]], Iterator[Sequence | str]]
  whole: bool = True
  quoting: str = ""
  check: Callable[[Mapping[str, str]], None] = lambda columns: None
  beside: Mapping[str, str] = {}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
  """Opens a file, and unpacks it where its name ends with .gz, .zst, ...

  Raises:
    UserError: it is cut short or corrupt, as reading it in the block tells.
  """
  try:
    with _open(path) as file:
      yield file
  except _PACKED as error:
    raise UserError(f"{path} is broken or cut short: {error}") from error


def _open(path: Path) -> io.BufferedReader:
  file = path.open("rb")
  if path.suffix.lower() not in delimited.PACKED:
    return file
  import fsspec.compression  # a slow import
  import fsspec.utils

  packing = fsspec.utils.infer_compression(os.fspath(path).lower())
  # A dict that has only None at first, for fsspec's own types.
  unpack = fsspec.compression.compr[packing]  # pyright: ignore[reportArgumentType]
  return io.BufferedReader(unpack(file, mode="rb"))


def as_text(file: io.BufferedReader) -> io.TextIOWrapper:
  """Decodes a file; what is no UTF-8 must cost its row, not the file."""
  return io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")


def _check_encoding(file: io.BufferedReader, path: Path) -> None:
  if file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
    raise UserError(f"{path} is UTF-16, expected UTF-8: save it as such")


def _select(
  rows: Iterable[Mapping | str], columns: Sequence[str]
) -> Iterator[Sequence | str]:
  """Yields the cells of each row; a text, the reason why it is none, as is."""
  for row in rows:
    yield row if isinstance(row, str) else [row.get(name) for name in columns]


# ---- CSV and TSV ----


def _open_delimited(path, quoting):
  with opened(path) as file:
    _check_encoding(file, path)
    lines = delimited.Lines(as_text(file))
    header = delimited.read_header(lines, path, quoting)
    found = quoting
    if quoting == "auto":
      found = find_quoting(lines, header, path)

  def read(columns):
    with opened(path) as file:
      lines = delimited.Lines(as_text(file))
      indices = [header.names.index(name) for name in columns]
      for row in delimited.read_rows(lines, header, found):
        yield row if isinstance(row, str) else [row[i] for i in indices]

  return Table(path, header.names, read, quoting=found)


# ---- JSON lines ----


def _open_json(path, quoting):
  del quoting
  names: dict[str, None] = {}
  with opened(path) as file:
    _check_encoding(file, path)
    # All of them: a writer that leaves out what is missing may begin late.
    for value in _read_objects(file):
      if isinstance(value, dict):
        names.update(dict.fromkeys(value))
  if not names:
    raise UserError(f"{path}: no line is a JSON object, expected one a line")

  def read(columns):
    with opened(path) as file:
      yield from _select(_read_objects(file), columns)

  return Table(path, list(names), read, whole=False)


def _read_objects(file: io.BufferedReader) -> Iterator[dict[str, Any] | str]:
  """Yields the object on each line, or the reason why there is none."""
  while line := file.readline(delimited.MAX_LINE):
    if len(line) == delimited.MAX_LINE:
      while line and not line.endswith(b"\n"):
        line = file.readline(delimited.MAX_LINE)
      value = f"a line of more than {delimited.MAX_LINE:,} bytes"
    elif line.strip():
      value = parse_object(line)
    else:
      continue
    yield f"not readable as JSON: {value}" if isinstance(value, str) else value


def parse_object(line: bytes) -> dict[str, Any] | str:
  """Parses the object on a line; a text says what is wrong with it."""
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
  """Makes a reader of files that are no tables, of a function for them."""

  def open_whole(path, quoting):
    del quoting
    read = getattr(
      importlib.import_module(f"item_jax.ingest.sources.{module}"), function
    )
    with opened(path) as file:
      names, _ = read(file, os.fspath(path))

    def rows(columns):
      with opened(path) as file:
        _, found = read(file, os.fspath(path))
        yield from _select(found, columns)

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


# ---- Rows that a program holds ----


def open_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
  """Opens mappings of column names to cells as a table.

  Args:
    rows: can be iterated several times.

  Raises:
    UserError: none is a mapping with names.
  """
  names: dict[str, None] = {}
  for row in rows:
    if isinstance(row, Mapping):
      names.update({n: None for n in row if isinstance(n, str)})
  if not names:
    first = next(iter(rows), None)
    empty = first is None or isinstance(first, Mapping)
    found = "has no rows" if empty else f"begins with {name_kind(first)}"
    raise UserError(f"the catalogue {found}: expected {FORMS}")

  def read(columns):
    for row in rows:
      if isinstance(row, Mapping):
        yield [row.get(name) for name in columns]
      else:
        yield f"not a mapping of columns to cells: {type(row).__name__}"

  return Table(Path("rows"), list(names), read, whole=False)


# ---- Public data sets ----


def _open_set(name):
  """Makes a reader of a public set, whose columns are ours as a rule."""

  def open_set(path, quoting):
    del quoting
    # They open files as we do.
    from item_jax.ingest.readers.public_sets import SETS
    from item_jax.ingest.readers.webdataset import find_columns

    # Those of a shard are its own, some of them maybe later ones.
    names = find_columns(path) if name == "webdataset" else []
    return Table(
      path,
      names or list(_COLUMNS),
      lambda columns: _select(SETS[name](path), columns),
      whole=not names,
    )

  return open_set


Reader = Callable[[Path, str], Table]  # of a path and how quotes are read

# A file's format by the ending of its name.
READERS: dict[str, Reader] = {
  ".csv": _open_delimited,
  ".tsv": _open_delimited,
  ".jsonl": _open_json,
  ".ndjson": _open_json,
  ".parquet": _open_parquet,
  ".json": _open_whole("schema", "read_json"),
  ".jsonld": _open_whole("schema", "read_json"),
  ".xml": _open_whole("google", "read_xml"),
}
# What --format takes beside "auto" and "package.module:NAME".
FORMATS: dict[str, Reader] = {
  ending[1:]: reader for ending, reader in READERS.items()
} | {name: _open_set(name) for name in PUBLIC_SETS}
