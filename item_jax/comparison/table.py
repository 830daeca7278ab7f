"""Renders a table as Markdown, HTML, CSV or aligned plain text."""

import csv
import html
import io

from item_jax.evaluation.page import section
from item_jax.evaluation.results import aligned

ABSENT = "-"


class Bold(str):
  """A cell that is set in bold."""


class Table(section.Table):
  """A table of a page that is also Markdown, CSV and text."""

  def to_markdown(self) -> str:
    """The table without its caption; numbers to the right."""

    def cell(value) -> str:
      return f"**{value}**" if isinstance(value, Bold) else str(value)

    marks = ["---", *["---:"] * (len(self.columns) - 1)]
    return "\n".join(
      f"| {' | '.join(map(cell, line))} |"
      for line in (self.columns, marks, *self.lines)
    )

  def to_html(self) -> str:
    """A <table> without its caption."""

    def cell(value) -> str:
      text = html.escape(str(value))
      return f"<b>{text}</b>" if isinstance(value, Bold) else text

    def line(tag: str, cells) -> str:
      inner = "".join(f"<{tag}>{cell(value)}</{tag}>" for value in cells)
      return f"<tr>{inner}</tr>"

    body = "\n".join(line("td", cells) for cells in self.lines)
    return f"<table>{line('th', self.columns)}\n{body}\n</table>"

  def to_csv(self) -> str:
    """Comma-separated values; None is an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([self.columns, *self.lines])
    return file.getvalue()

  def to_text(self) -> str:
    """Columns aligned by spaces, for a terminal."""
    return aligned([list(map(str, x)) for x in (self.columns, *self.lines)])


def fraction(value: float, *, signed: bool = False) -> str:
  """Writes a number between -1 and 1 as .123; -.012 and +.012 if signed."""
  text = f"{abs(value):.3f}"
  text = text[1:] if text.startswith("0") else text
  negative = value < 0 and float(f"{value:.3f}") != 0
  return ("-" if negative else "+" if signed else "") + text


def whole(value: float | None, *, absent: str = ABSENT) -> str:
  """Writes a number without its decimals, as 1,234."""
  return absent if value is None else f"{value:,.0f}"


def amount(value: float | None) -> str:
  """Writes 1,234,567 as 1.23 M; three digits, in full below a million."""
  if value is None:
    return ABSENT
  rounded = float(f"{value:.3g}")
  for power, letter in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M")):
    if rounded >= 10**power:
      return f"{rounded / 10**power:.3g} {letter}"
  return whole(value)
