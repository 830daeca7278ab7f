"""Reads columns of a table: of a file, a data frame or rows in memory."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from item_jax.errors import NotFoundError, UserError
from item_jax.ingest.readers.tables import (
  composed,
  open_tables,
  read_cells,
  reusable,
)


def name_table(table: Any) -> str:
  """Returns what a message calls a table."""
  return str(table) if isinstance(table, (str, os.PathLike)) else "items"


def read_columns(
  table: Any,
  needed: Sequence[Sequence[str]],
  optional: Sequence[str] = (),
  *,
  quoting: str = "auto",
) -> list[Any]:
  """Reads columns of a table, in memory or of any format that `prepare` reads.

  Args:
    needed: of each column the names it may have; exactly one is there.
    optional: names of columns that may be absent.
    quoting: of `delimited.QUOTING`.

  Returns:
    The columns' cells in this order, None for what is absent.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  source = name_table(table)
  if isinstance(table, (str, os.PathLike)):
    if not Path(table).exists():
      raise NotFoundError(f"{table}: there is no such file")
  else:
    table = _to_rows(table)
  columns: list[Any] = [[] for _ in needed]
  columns += [None] * len(optional)
  row = 0
  for part in open_tables(table, quoting=quoting):
    names = [_column(part.names, spellings, source) for spellings in needed]
    names += [
      _column(part.names, (name,), source, optional=True) for name in optional
    ]
    wanted = {str(number): name for number, name in enumerate(names) if name}
    for cells in read_cells(part, wanted):
      if isinstance(cells, str):
        raise UserError(f"{source}: row {row}: {cells}")
      for number, cell in cells.items():
        if columns[int(number)] is None:
          columns[int(number)] = []
        columns[int(number)].append(cell)
      row += 1
  return columns


def _to_rows(table: Any) -> list[Mapping[str, Any]]:
  """Turns a data frame, {column: values} or rows into a list of rows."""
  if hasattr(table, "to_dicts"):  # of Polars
    return table.to_dicts()
  if hasattr(table, "to_pylist"):  # of pyarrow
    return table.to_pylist()
  if isinstance(table, Mapping):
    # A column of pyarrow gives scalars of its own.
    table = {
      name: values.to_pylist() if hasattr(values, "to_pylist") else values
      for name, values in table.items()
    }
    for name, values in table.items():
      if isinstance(values, str) or not hasattr(values, "__len__"):
        raise UserError(
          f"items: column {name!r} is {values!r}: expected a value for each row"
        )
    sizes = {name: len(values) for name, values in table.items()}
    if len(set(sizes.values())) > 1:
      raise UserError(f"items: columns of different lengths: {sizes}")
    return [
      dict(zip(table, row, strict=True))
      for row in zip(*table.values(), strict=True)
    ]
  if not isinstance(table, Iterable):
    raise UserError(
      f"items={table!r}: expected a table, its path, or rows of it"
    )
  return list(reusable(table))


def _column(header, names, source, *, optional=False) -> str | None:
  """The one column of these names that the header has, as it spells it."""
  wanted = set(map(composed, names))
  found = [name for name in header if composed(name) in wanted]
  if not found and optional:
    return None
  if len(found) != 1:
    raise UserError(
      f"{source}: expected one column {' or '.join(names)}, but the header is"
      f" {','.join(header) or 'empty'}"
    )
  return found[0]
