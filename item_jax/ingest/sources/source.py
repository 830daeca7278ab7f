"""Defines what the reader of a shop system's export consists of."""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from item_jax.ingest.sources.cells import Categories, split_list, text
from item_jax.ingest.sources.items import Item, Merged


@dataclass(frozen=True)
class Cells:
  """Gives the cells of a row by field, whatever their columns are called.

  A field without a column, or with a word for a missing value, is None or "".
  Errors (ValueError) name the column.
  """

  row: Mapping[str, Any]
  columns: Mapping[str, str]  # {field: column}
  missing: Container[str]  # words in lower case
  notes: Counter

  def value(self, field: str) -> Any:
    """Returns a cell as it is."""
    column = self.columns.get(field, "")
    value = self.row.get(column)
    if isinstance(value, str) and value.strip().lower() in self.missing:
      if value.strip():
        note = f"cells of {column} hold {value.strip()!r}: read as missing"
        self.notes[note] += 1
      return None
    return value

  def text(self, field: str) -> str:
    """Returns a cell's text; for a list, its first entry."""
    value = self.value(field)
    if isinstance(value, list):
      value = value[0] if value else None
    return self._named(field, text, value)

  def entries(self, field: str, separators: str = ",") -> list[str]:
    """Returns the entries of a cell, as `cells.split_list` finds them."""
    return self._named(field, split_list, self.value(field), separators)

  def _named(self, field, function, *values):
    try:
      return function(*values)
    except ValueError as error:
      raise ValueError(f"{self.columns[field]} {error}") from None


@dataclass(frozen=True)
class Source:
  """A shop system's export: how it is detected, and how its rows are read."""

  name: str  # what --source takes
  called: str  # for people
  fields: Mapping[str, tuple[str, ...]]  # {field: columns, best first}
  needs: tuple[tuple[str, ...], ...]  # groups of fields, one of each needed
  detects: Callable[[set[str]], bool]  # by the columns as they are written
  read_row: Callable[[int, Cells, Categories], Iterable[Item | Merged]]
  separator: str = ">"  # of a category's levels
  # Whether all rows of a product have one listing_id: see items.list_products.
  one_count: bool = False

  def columns(
    self, names: Sequence[str], *, whole: bool = True
  ) -> dict[str, str]:
    """Finds {field: the file's column} of the fields that are there.

    Args:
      names: the file's columns.
      whole: whether these are all; of lines of JSON only the first are known:
        a field that is not among them may follow, by its first name.
    """
    there = {spell(name): name for name in reversed(names)}
    found = {}
    for field, columns in self.fields.items():
      known = [c for c in map(spell, columns) if c in there]
      if known:
        found[field] = there[known[0]]
      elif not whole:
        found[field] = columns[0]
    return found


def spell(name: str) -> str:
  """Normalizes a column's name for comparison: "g:Image Link" is image_link."""
  name = name.strip().lower().removeprefix("g:")
  return re.sub(r"[\s_]+", "_", name)
