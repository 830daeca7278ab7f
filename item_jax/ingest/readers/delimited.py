"""Reads CSV and TSV files so that each line becomes a row or a reason.

A quote can be read in three ways:

  csv   RFC 4180: a field that begins with a quote ends with one, maybe some
        lines later
  line  a quote has a meaning only where a field begins and ends with one on the
        same line; elsewhere it is a character like any other
  none  a quote is a character like any other

Where quoted fields would span lines the first two differ, and the wrong one
swallows rows. `quoting.find_quoting` checks all such places before a row is
used.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from item_jax.errors import UserError

QUOTING = ("auto", "csv", "line", "none")
MAX_LINE = 4_000_000  # characters; more is no row of a catalogue
_SPAN = 1_000_000  # characters of a field over several lines
PACKED = (".gz", ".bz2", ".xz", ".zst")
_DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's first line


class Header(NamedTuple):
  """The columns of a file. last: the number of the header's last line."""

  names: list[str]
  delimiter: str
  last: int


class Line(NamedTuple):
  """One physical line without its line end, and its number from 1."""

  text: str
  number: int
  too_long: bool = False


_LINE = Line._make  # faster than by fields; every row takes it


class Lines:
  """Iterates over the lines of a file; some can be given back."""

  def __init__(self, file: TextIO):
    self._file = file
    self._again: list[Line] = []
    self._number = 0

  def __iter__(self):
    return self

  def __next__(self) -> Line:
    if self._again:
      return self._again.pop()
    text = self._file.readline(MAX_LINE)
    if not text:
      raise StopIteration
    self._number += 1
    if len(text) < MAX_LINE:
      return _LINE((text.rstrip("\r\n"), self._number, False))
    while text and text[-1] not in "\r\n":
      text = self._file.readline(MAX_LINE)
    return Line("", self._number, too_long=True)

  def give_back(self, lines: Sequence[Line]) -> None:
    """Puts lines back in front of the next one."""
    self._again.extend(reversed(lines))


def read_header(
  lines: Lines, path: str | os.PathLike, quoting: str = "auto"
) -> Header:
  """Reads the header, and finds the delimiter.

  Blank lines and Excel's `sep=;` may come first. The delimiter of a .tsv is the
  tab, else the most frequent one of , ; tab | outside quotes in the header.

  Raises:
    UserError: there is no header, or it cannot be read.
  """
  delimiter = "\t" if suffix(path) == ".tsv" else None
  for line in lines:
    stated = _SEP.fullmatch(line.text)
    if stated:
      delimiter = stated[1]
    elif line.text.strip() or line.too_long:
      break
  else:
    raise UserError(f"{path} is empty, expected a header and rows")
  if line.too_long:
    raise UserError(
      f"{path}: its header cannot be read: a line of more than"
      f" {MAX_LINE:,} characters"
    )
  if delimiter is None:
    bare = re.sub('"[^"]*"', "", line.text)
    delimiter = max(_DELIMITERS, key=bare.count)
  cells = cut(line.text, delimiter) if quoting != "none" else None
  last = line
  if cells is None and quoting in ("auto", "csv"):  # it may span lines
    cells, taken = span_lines(line, lines, delimiter)
    if cells is None:
      lines.give_back(taken)
    else:
      last = taken[-1]
  if cells is None and (line.text[:1] != '"' or quoting == "none"):
    cells = line.text.split(delimiter)
  if cells is None:
    raise UserError(
      f"{path}: its header cannot be read: a quote is opened and never closed"
    )
  names = [" ".join(cell.split()) for cell in cells]
  return Header(names, delimiter, last.number)


def read_rows(
  lines: Lines, header: Header, quoting: str
) -> Iterator[list[str] | str]:
  """Yields the cells of each row, or the reason why it cannot be read.

  Each line that is not blank is part of exactly one row.

  Args:
    lines: of the whole file.
    quoting: "csv", "line" or "none"; "" where there are no quotes.
  """
  delimiter, width = header.delimiter, len(header.names)
  for line in lines:
    if line.number <= header.last:
      continue
    text = line.text
    plain = '"' not in text or quoting == "none"
    cells = text.split(delimiter) if plain else cut(text, delimiter)
    if cells is None and quoting == "csv":
      cells, taken = span_lines(line, lines, delimiter)
      if cells is None or len(cells) != width:
        cells = None
        lines.give_back(taken)
    if cells is None:
      cells = _split_plainly(text, delimiter, width)
    if cells is not None and len(cells) == width and text:
      again = cells[-1].strip() == header.names[-1] and _is_header(
        cells, header
      )
      yield "the header once more, as of files put together" if again else cells
    elif line.too_long:
      yield f"not readable as CSV: a line of more than {MAX_LINE:,} characters"
    elif cells is not None and text.strip():
      yield f"wrong number of fields: {len(cells)}, the header has {width}"
    elif text.strip():
      yield "not readable as CSV: its quotes do not pair"


def _is_header(cells: Sequence[str], header: Header) -> bool:
  """Whether a row of two cells or more repeats the header."""
  names = [" ".join(_bare(c.lstrip("\ufeff")).split()) for c in cells]
  return len(names) > 1 and names == header.names


def one_row(text: str, delimiter: str, width: int) -> list[str] | None:
  """Returns the cells of a row on one line; None where it is no row."""
  cells = cut(text, delimiter)
  if cells is None:
    return _split_plainly(text, delimiter, width)
  return cells if len(cells) == width else None


def _split_plainly(text, delimiter, width) -> list[str] | None:
  """Returns the cells with unpaired quotes read as ordinary characters.

  Only if that gives a row: else it is unknown what the quotes hold together.
  """
  cells = text.split(delimiter)
  return [_bare(cell) for cell in cells] if len(cells) == width else None


def _bare(cell: str) -> str:
  """Removes the quotes that a field begins and ends with, if they pair."""
  text = cell.strip()
  cells = cut(text, "") if text[:1] == '"' else None
  return cells[0] if cells else cell


def cut(text: str, delimiter: str) -> list[str] | None:
  """Splits a line by RFC 4180; None where its quotes do not pair."""
  cells = []
  begin, end = 0, len(text)
  while True:
    if text.startswith('"', begin):
      close = _closing(text, begin + 1)
      if close < 0:
        return None
      after = close + 1
      if after < end and text[after] != delimiter:
        return None
      cells.append(text[begin + 1 : close].replace('""', '"'))
    else:
      after = text.find(delimiter, begin)
      if after < 0:
        after = end
      cells.append(text[begin:after])
    if after == end:
      return cells
    begin = after + 1


def _closing(text: str, begin: int) -> int:
  """Returns the index of the quote that closes a field; -1 without one."""
  index = text.find('"', begin)
  while index >= 0 and text.startswith('"', index + 1):  # a doubled quote
    index = text.find('"', index + 2)
  return index


def span_lines(
  first: Line, lines: Lines, delimiter: str
) -> tuple[list[str] | None, list[Line]]:
  """Reads the fields of a record that begins on `first` and spans lines.

  Returns:
    The fields, None if there is no such record; and the lines read for it.
  """
  text = first.text
  taken: list[Line] = []
  # `begin` is where its last field, the open one, begins.
  while (begin := _open(text, delimiter)) is not None:
    end = len(text)
    while True:
      line = next(lines, None)
      if line is None or line.too_long or len(text) - begin > _SPAN:
        lines.give_back([] if line is None else [line])
        return None, taken
      taken.append(line)
      text += "\n" + line.text
      if _closing(text, end + 1) >= 0:
        break
      end = len(text)
  return (cut(text, delimiter) if taken else None), taken


def _open(text: str, delimiter: str) -> int | None:
  """Returns where the field with an open quote begins; None without one."""
  begin = 0
  while True:
    if text.startswith('"', begin):
      close = _closing(text, begin + 1)
      if close < 0:
        return begin
      if close + 1 == len(text) or text[close + 1] != delimiter:
        return None
      begin = close + 2
    else:
      after = text.find(delimiter, begin)
      if after < 0:
        return None
      begin = after + 1


def suffix(path: str | os.PathLike) -> str:
  """Returns the ending of a file's name in lower case, packing removed."""
  suffixes = [suffix.lower() for suffix in Path(path).suffixes]
  if suffixes and suffixes[-1] in PACKED:
    suffixes.pop()
  return suffixes[-1] if suffixes else ""
