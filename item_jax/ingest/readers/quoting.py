"""Finds out how to read the quotes of a CSV file, by the whole file."""

import os
from collections import Counter

from item_jax.errors import UserError
from item_jax.ingest.readers.delimited import (
  Header,
  Lines,
  cut,
  one_row,
  span_lines,
)

_NAMED = 5  # lines named in an error
_SURE = 6  # so many delimiters in the right lines are no chance


def find_quoting(lines: Lines, header: Header, path: str | os.PathLike) -> str:
  """Tells "csv" from "line" by the whole file; "" is a file without quotes.

  They differ where a field in quotes would span lines. It does span them where
  the file quotes as RFC 4180 demands: quotes enclose delimiters, quotes inside
  are doubled, and no other field has one. It does not where fields have quotes
  that do not pair. Where neither is seen, the spans decide: lines that all are
  rows of the table are rows, and a text with fewer delimiters than a row is a
  text.

  Args:
    lines: those after the header; read to the end.

  Raises:
    UserError: it stays unclear; the message has the lines' numbers.
  """
  width = len(header.names)
  seen: Counter = Counter()
  spans: list[tuple[str, str]] = []
  for line in lines:
    if '"' not in line.text:
      continue
    cells = cut(line.text, header.delimiter)
    if cells is not None:
      seen[_evidence(line.text, cells, header)] += 1
      continue
    cells, taken = span_lines(line, lines, header.delimiter)
    if cells is None or len(cells) != width:
      seen["plain"] += 1
      lines.give_back(taken)
      continue
    spans.append(
      (
        _classify(cells, [line, *taken], header),
        f"{line.number}-{taken[-1].number}",
      )
    )
    if any('"' in cell and "\n" in cell for cell in cells):
      seen["csv"] += 1  # as the quotes in it are doubled
  if not spans:
    return "line" if seen else ""
  if seen["plain"] and not seen["csv"]:
    return "line"
  kinds = {kind for kind, _ in spans}
  if seen["csv"] and not seen["plain"]:
    if "rows" not in kinds:
      return "csv"
  elif kinds == {"rows"}:
    return "line"
  elif kinds == {"text"}:
    return "csv"
  unclear = [numbers for kind, numbers in spans if kind != "text"]
  raise UserError(
    f"{path}, lines {', '.join(unclear[:_NAMED])}: a field that begins"
    " with a quote would span these lines, and they may be rows of their own:"
    " use --quoting=csv if it does, --quoting=line if quotes there are"
    " characters like any other"
  )


def _evidence(text: str, cells: list[str], header: Header) -> str:
  """Tells how a line with paired quotes is written: "csv", "plain" or ""."""
  raw = text.split(header.delimiter)
  width = len(header.names)
  if len(raw) != len(cells):
    return "csv" if len(cells) == width else ""
  quoted = [cell for cell in raw if cell[:1] == '"']
  if any('"' in cell for cell in raw if cell[:1] != '"'):
    return "plain"  # 12" lamp
  if any('""' in cell[1:-1] for cell in quoted):
    return "csv"
  return "csv" if len(quoted) == width > 1 else ""


def _classify(cells, lines, header) -> str:
  """Classifies the lines of a possible record: "rows", "text" or "unclear"."""
  width = len(header.names)
  rows = [one_row(line.text, header.delimiter, width) for line in lines]
  if None not in rows:
    # A text of two lines may well have a comma in each.
    return "rows" if (width - 1) * len(lines) >= _SURE else "unclear"
  longest = max(cell.count(header.delimiter) for cell in cells)
  if longest < width - 1 or not any(rows):
    return "text"
  return "unclear"
