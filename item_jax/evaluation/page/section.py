"""States what a page is made of: tables, and sections of other results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Table(NamedTuple):
  """Lines of cells, texts or numbers; the first column holds names."""

  caption: str
  columns: Sequence[str]
  lines: Sequence[Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Section:
  """What a page shows of a result that is not its own.

  figures: (label, matplotlib figure).
  """

  heading: str
  text: list[str]
  tables: Sequence[Table]
  figures: list[tuple[str, Any]] = field(default_factory=list)
  notes: list[str] = field(default_factory=list)
