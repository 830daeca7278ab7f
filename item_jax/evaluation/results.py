"""Shows results as a table: as text, in a notebook, as a data frame."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from item_jax.files import whole_file

if TYPE_CHECKING:
  import pandas


class Shown:
  """Base of what a notebook shows as its text."""

  def __repr__(self) -> str:
    return str(self)

  def _repr_html_(self) -> str:
    return f"<pre>{html.escape(str(self))}</pre>"


class Result(Shown):
  """Base of the results; `result["name"]` is a value of `to_dict`.

  A subclass says what JSON holds (`to_dict`), the lines of its table as plain
  values (`rows`) and the table as text (`__str__`).
  """

  def to_dict(self) -> dict[str, Any]:
    """Returns the values that the command line writes as JSON."""
    raise NotImplementedError

  def rows(self) -> list[dict[str, Any]]:
    """Returns the lines of the table, {column: value} each."""
    raise NotImplementedError

  def to_frame(self) -> "pandas.DataFrame":
    """Returns `rows` as a data frame; pandas has to be installed."""
    import pandas

    return pandas.DataFrame(self.rows())

  def write_json(self, path: str | Path) -> None:
    """Writes `to_dict` to a file."""
    text = json.dumps(self.to_dict(), indent=2) + "\n"
    with whole_file(path, text=True) as file:
      file.write(text)

  def __getitem__(self, name: str) -> Any:
    return self.to_dict()[name]

  def __contains__(self, name: str) -> bool:
    return name in self.to_dict()

  def _repr_html_(self) -> str:
    return to_html(self.rows())


class Tables(Result):
  """Base of results that are several tables below a sentence."""

  def sentence(self) -> str:
    """Says what was measured."""
    raise NotImplementedError

  def tables(self) -> list[tuple[str, list[dict[str, str]]]]:
    """Returns (title, lines of {column: text}) of what there is."""
    raise NotImplementedError

  def remarks(self) -> Sequence[str]:
    """Says, below the tables, what a reader must know."""
    return ()

  def __str__(self) -> str:
    parts = [self.sentence()]
    for title, rows in self.tables():
      parts.append(f"{title}\n{to_text(rows)}" if title else to_text(rows))
    return "\n\n".join([*parts, *self.remarks()])

  def _repr_html_(self) -> str:
    parts = [f"<pre>{html.escape(self.sentence())}</pre>"]
    for title, rows in self.tables():
      parts.append(f"<p>{html.escape(title)}</p>{to_html(rows)}")
    parts += [f"<p>{html.escape(remark)}</p>" for remark in self.remarks()]
    return "".join(parts)


def to_html(rows: Sequence[dict[str, Any]]) -> str:
  """Makes a table of lines of {column: value}."""
  names = list(dict.fromkeys(name for row in rows for name in row))
  lines = [_line("th", names)]
  lines += [_line("td", [_cell(row.get(n)) for n in names]) for row in rows]
  return f"<table>{''.join(lines)}</table>"


def aligned(lines: Sequence[Sequence[str]]) -> str:
  """Aligns columns for a terminal: the first to the left, others to the right.

  Args:
    lines: of cells, as many in each; the header first.
  """
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if number else cell.ljust(width)
      for number, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  )


def to_text(rows: Sequence[Mapping[str, str]]) -> str:
  """Makes a table for a terminal of lines of {column: cell}."""
  names = list(dict.fromkeys(name for row in rows for name in row))
  return aligned([names, *([row.get(n, "") for n in names] for row in rows)])


def _line(tag: str, cells: Sequence[str]) -> str:
  inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
  return f"<tr>{inner}</tr>"


def _cell(value: Any) -> str:
  if value is None:
    return ""
  if isinstance(value, float):
    return f"{value:.4f}"
  return f"{value:,}" if isinstance(value, int) else str(value)


def with_interval(value: float, interval: Sequence[float] | None = None) -> str:
  """Spells a measure, with its interval in brackets where it has one."""
  if not interval:
    return f"{value:.4f}"
  low, high = interval
  return f"{value:.4f} [{low:.4f}, {high:.4f}]"
