"""Reads the exports of shop systems, each by its own file in this folder."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from item_jax.errors import UserError, name_kind
from item_jax.ingest.sources import (
  google,
  magento,
  schema,
  shopify,
  woocommerce,
)
from item_jax.ingest.sources.cells import Categories, plain
from item_jax.ingest.sources.items import (
  Bad,
  Item,
  Listing,
  Merged,
  list_products,
)
from item_jax.ingest.sources.source import Cells, Source
from item_jax.registry import look_up

# What a source of another package is built from, and what becomes of its rows.
__all__ = [
  "Bad",
  "Categories",
  "Cells",
  "Item",
  "Listing",
  "Merged",
  "Source",
  "plain",
]

SOURCES = {
  module.SOURCE.name: module.SOURCE
  for module in (shopify, woocommerce, magento, google, schema)
}
NAMES = ("auto", "table", *SOURCES)  # what --source takes
WHICH = ("first", "deepest")  # what --which_category takes
# A file with one of these columns is a plain table, whatever else it has.
_OURS = {"listing_id", "product_id"}
_SHOWN = 40  # columns in an error


def find(names: Sequence[str], source: str = "auto") -> Source | None:
  """Finds the source of a file with these columns; None for a plain table.

  Args:
    names: the file's columns.
    source: one of NAMES, or "package.module:NAME" of a Source; "auto" tells by
      the columns.

  Raises:
    UserError: there is no such source, or its columns are not there.
  """
  if source == "table":
    return None
  if source == "auto":
    there = set(names)
    if there & _OURS:
      return None
    return next((s for s in SOURCES.values() if s.detects(there)), None)
  known: dict[str, Any] = {**dict.fromkeys(NAMES), **SOURCES}
  found = look_up(source, known, option="--source")
  if not isinstance(found, Source):
    raise UserError(f"--source={source}: expected a Source, not {found!r}")
  fields = found.columns(names)
  for group in found.needs:
    if not any(field in fields for field in group):
      columns = [column for field in group for column in found.fields[field]]
      more = " and more" if len(names) > _SHOWN else ""
      raise UserError(
        f"--source={source} expects a column {' or '.join(columns)}, the file"
        f" has {', '.join(names[:_SHOWN])}{more}"
      )
  return found


def describe(source: Source, names: Sequence[str]) -> str:
  """Describes how a file is read, and by which columns."""
  columns = ", ".join(source.columns(names).values())
  return (
    f"read as {source.called} (columns {columns}); --source=table reads it as a"
    " plain table"
  )


def read(
  source: Source,
  names: Sequence[str],
  rows: Iterable[dict[str, Any] | str],
  *,
  whole: bool = True,
  category_separator: str | None = None,
  which_category: str = "first",
  missing: Iterable[str] = (),
  notes: Counter | None = None,
) -> Iterator[Listing | Merged | Bad]:
  """Yields the listings of each row, or the reason why it has none.

  All rows are read before the first listing is yielded, because a variant may
  come before its product.

  Args:
    source: from `find`.
    names: the file's columns.
    rows: {column: cell} of the columns in `source.columns(names, whole=whole)`,
      or the reason why a row cannot be read.
    whole: whether `names` are all columns; lines of JSON may have more.
    category_separator: between the levels of a category; None: the source's.
    which_category: "first" or "deepest", where a cell holds several paths.
    missing: words in lower case that stand for a missing value, as a whole
      cell: a table written by pandas has "nan" for a missing title.
    notes: counts the decisions made, by their description, for the summary.

  Raises:
    UserError: an option has an impossible value.
  """
  if which_category not in WHICH:
    raise UserError(
      f"--which_category={which_category}: expected {' or '.join(WHICH)}"
    )
  if category_separator is not None and not category_separator.strip():
    raise UserError(
      "--category_separator is blank: expected > or / or the like"
    )
  separator = (category_separator or source.separator).strip()
  categories = Categories(
    separator, which_category, Counter() if notes is None else notes
  )
  items = _read_items(
    source,
    rows,
    source.columns(names, whole=whole),
    frozenset(missing),
    categories,
  )
  return list_products(items, one_count=source.one_count)


def _read_items(source, rows, columns, missing, categories):
  for number, row in enumerate(rows, start=1):
    if isinstance(row, str):
      yield Bad(number, row)
      continue

    cells = Cells(row, columns, missing, categories.notes)
    try:
      for item in source.read_row(number, cells, categories):
        if not isinstance(item, Item | Merged):
          raise TypeError(f"{name_kind(item)}: expected an Item or a Merged")
        yield item
    except ValueError as error:
      yield Bad(number, str(error))
    except Exception as error:
      error.add_note(f"raised by the source {source.name!r} in row {number}")
      raise
