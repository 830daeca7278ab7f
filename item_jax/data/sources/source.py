"""Says what a reader of one shop's export consists of."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from item_jax.data.sources.cells import Categories
from item_jax.data.sources.items import Bad, Item, Merged

# Gives a cell of the row by its field, None where the file has no such column.
Cells = Callable[[str], Any]


@dataclass(frozen=True)
class Source:
  """A shop system's export: how it is known, and how a row of it is read."""

  name: str  # what --source takes
  called: str  # for people
  fields: dict[str, tuple[str, ...]]  # of each its columns, the first there is
  needs: tuple[tuple[str, ...], ...]  # fields, of each group one must be there
  detects: Callable[[set[str]], bool]  # from the columns, as they are written
  read_row: Callable[[int, Cells, Categories], Iterable[Item | Merged | Bad]]
  separator: str = ">"  # of a category's levels
  # Whether all rows of a product have one listing_id: see items.list_products.
  one_count: bool = False

  def places(self, names: Sequence[str]) -> dict[str, str]:
    """Returns {field: the file's column} of the fields that are there."""
    there = {spell(name): name for name in reversed(names)}
    found = {}
    for field, columns in self.fields.items():
      for column in map(spell, columns):
        if column in there:
          found.setdefault(field, there[column])
    return found


def spell(name: str) -> str:
  """Returns a column's name as it is compared: "g:Image Link" as image_link."""
  name = name.strip().lower().removeprefix("g:")
  return re.sub(r"[\s_]+", "_", name)
