"""Reads a catalogue as checked rows, and explains why others are rejected."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from item_jax.errors import UserError
from item_jax.ingest import sources
from item_jax.ingest.readers.cells import (
  LossyNumber,
  check_id,
  is_absent,
  spaced,
  to_image,
  to_path,
  to_text,
)
from item_jax.ingest.readers.tables import (
  Table,
  add_splits,
  match_columns,
  open_tables,
  read_cells,
)
from item_jax.ingest.row import (
  COLUMNS,
  SPLIT_ALIASES,
  Reading,
  Rejected,
  Row,
  hash_split,
  name_product,
  name_row,
)
from item_jax.ingest.sources.cells import Suspects

_IDS = ("listing_id", "product_id")
_SURVEYED = (*_IDS, "split")
_NOTHING: dict[str, Any] = dict.fromkeys(COLUMNS, "")
_SPLIT = re.compile("[a-z][a-z0-9_]{0,29}")  # is part of file names
_SHOWN = 40  # columns named
_PATHS = 100_000  # categories cached


class Catalogue:
  """An open catalogue; its rows can be read any number of times.

  source: the reader of a shop's export; None for a plain table.
  missing: {column: {word: cells}}, of words that were read as missing.
  notes: {other remark: count}.
  merged: {reason: rows}, of a shop's rows that added no listing.
  The last three are counted anew whenever all rows are read.
  """

  def __init__(
    self,
    catalogue: str | os.PathLike | Iterable[str | os.PathLike | Mapping],
    reading: Reading | None = None,
  ):
    """Opens the files and checks their headers.

    Args:
      catalogue: .csv, .tsv, .jsonl, .ndjson or .parquet, also packed as .gz or
        .zst; a folder of parts; several of these; or rows, mappings of COLUMNS
        to cells. The image of a row is a path or the bytes of an image file.

    Raises:
      NotFoundError: there is no such file.
      UserError: unknown kind of file, or its columns are not as expected.
    """
    self.reading = reading or Reading()
    self.tables = open_tables(
      catalogue,
      quoting=self.reading.quoting,
      file_format=self.reading.file_format,
    )
    if "split" not in self.reading.columns:
      self.tables = add_splits(self.tables)
    self.source = self._find_source()
    # {field of the source: its column}, as the first file spells it.
    self._fields: dict[str, str] = {}
    self._found = [self._match(table) for table in self.tables]
    self._missing = frozenset(self.reading.missing)
    # A shop's categories have this one already.
    own = self.reading.category_separator if self.source is None else None
    self._separator = own or ">"
    self._paths: dict[str, str] = {}
    self._longest = max(map(len, self._missing), default=0)
    self._start_counting()

  def _start_counting(self) -> None:
    self.missing: dict[str, Counter] = {c: Counter() for c in COLUMNS}
    self.notes: Counter = Counter()
    self._given: set[str] = set()
    self._suspects = Suspects()
    self.merged: Counter = Counter()

  def _find_source(self) -> sources.Source | None:
    if self.reading.columns:
      if self.reading.source not in ("auto", "table"):
        raise UserError(
          f"--column maps columns of a plain table, --source is"
          f" {self.reading.source}: expected one of the two"
        )
      return None
    found = [sources.find(t.names, self.reading.source) for t in self.tables]
    if any(source is not found[0] for source in found):
      raise UserError(
        f"{self.name} and the files beside it are exports of different shops:"
        " expected one, or --source"
      )
    return found[0]

  def _match(self, table: Table) -> dict[str, str]:
    if self.source is not None:
      columns = self.source.columns(table.names, whole=table.whole)
      self._fields = columns | self._fields
      return {self._fields[field]: name for field, name in columns.items()}
    columns = self.reading.columns
    found = match_columns(
      table.names, COLUMNS, columns, table.path, whole=table.whole
    )
    table.check({c: n for c, n in found.items() if n not in table.beside})
    if not table.whole:  # later lines may have more columns than the first
      known = {c: columns.get(c, c) for c in COLUMNS}
      found = known | found
    return found

  @property
  def name(self) -> str:
    """The first file's name; characters that are no valid text are replaced."""
    return os.fsencode(self.tables[0].path.name).decode(errors="replace")

  def describe(self) -> dict[str, Any]:
    """Describes how the catalogue was read; call it after reading all rows."""
    splits = {table.beside.get("split", "") for table in self.tables}
    return {
      "source": self.source.name if self.source else "table",
      "told_by": sources.describe(self.source, self.tables[0].names)
      if self.source
      else "",
      "absent": self._absent(),
      "quoting": sorted({table.quoting for table in self.tables} - {""}),
      "missing": {
        column: dict(words.most_common())
        for column, words in self.missing.items()
        if words
      },
      "file_splits": sorted(splits - {"", None}),
      "merged": dict(self.merged.most_common()),
      "notes": dict(self.notes.most_common()),
    }

  def _absent(self) -> list[str]:
    """Lists the missing columns of a plain table that its use suffers from."""
    if self.source is not None:
      return []
    # Rows may have more columns than the first: what counts is what they gave.
    there = self._found[0] if self.tables[0].whole else self._given
    names = ", ".join(self.tables[0].names[:_SHOWN])
    return [
      f"no column {column}: the table has {names} (--column {column}=NAME"
      " reads another)"
      for column in ("product_id", "title", "image")
      if column not in there
    ]

  def rows(
    self, split_of: Callable[[str], str] | None = None
  ) -> Iterator[Row | Rejected]:
    """Reads row by row, in constant memory.

    A row without listing_id is named `row-<number>`, one without product_id is
    a product of its own. Splits may have other names than the usual three, of
    lower-case letters, digits and underscores.

    Args:
      split_of: gives the split of a product, for rows that name none; None
        takes `hash_split`.

    Raises:
      UserError: a file is broken, or an id has lost digits.
    """
    self._start_counting()
    for number, cells in self._cells():
      if isinstance(cells, str):
        yield Rejected(number, "", cells)
      else:
        yield self._check(number, cells, split_of or hash_split)
    self.notes += self._suspects.counts

  def products(self) -> Iterator[tuple[str, str, bool] | None]:
    """Reads quickly, without all checks, for `survey`.

    Yields:
      Product and split of each row ("" where it has none), and whether it has a
      title; None for a row that cannot be used.

    Raises:
      UserError: as `rows`.
    """
    self._start_counting()
    for number, cells in self._cells():
      if isinstance(cells, str):
        yield None
        continue
      texts, reason = self._texts(number, cells, _SURVEYED)
      if reason:
        yield None
        continue
      split: str = texts["split"].lower()
      split = SPLIT_ALIASES.get(split, split)
      yield texts["product_id"], split, not is_absent(cells.get("title"))

  def _cells(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields each row's number and its cells, or why it cannot be read."""
    rows = itertools.chain.from_iterable(
      map(read_cells, self.tables, self._found)
    )
    if self.source is None:
      yield from enumerate(rows, start=1)
      return
    for made in sources.read(
      self.source,
      list(self._fields.values()),
      rows,
      category_separator=self.reading.category_separator,
      which_category=self.reading.which_category,
      missing=self._missing,
      notes=self.notes,
    ):
      if isinstance(made, sources.Merged):
        self.merged[made.reason] += 1
      elif isinstance(made, sources.Bad):
        yield made.row, made.reason
      else:
        yield made.row, made.fields

  def _texts(
    self, number, cells, columns=COLUMNS
  ) -> tuple[dict[str, Any], str | None]:
    """Converts a row's cells to what is stored; also returns what is wrong."""
    texts = _NOTHING.copy()
    reason = None
    for column in columns:
      value = cells.get(column)
      if is_absent(value):
        continue
      try:
        texts[column] = self._text(column, value)
      except LossyNumber as error:
        raise UserError(
          f"{column} in row {number} {error}. --trust_ids takes ids as they are"
        ) from None
      except ValueError as error:
        reason = reason or f"{column} {error}"
    return texts, reason

  def _check(self, number, cells, split_of) -> Row | Rejected:
    texts, reason = self._texts(number, cells)
    listing = texts["listing_id"] or name_row(number)
    if reason:
      return Rejected(number, listing, reason)
    self._given |= {column for column in texts if texts[column]}
    product = texts["product_id"] or name_product(listing)
    split: str = texts["split"].lower() or split_of(product)
    split = SPLIT_ALIASES.get(split, split)
    if not _SPLIT.fullmatch(split) or split == "all":  # "all" means every split
      return Rejected(number, listing, f"no name for a split: {split[:40]}")
    title = spaced(texts["title"])
    if self.source is None and not isinstance(texts["image"], bytes):
      self._suspects.check(
        title=title, category=texts["category"], image=texts["image"]
      )
    if not title and not texts["image"]:
      return Rejected(number, listing, "neither title nor image")
    image, category = texts["image"], texts["category"]
    return Row(number, listing, product, image, title, category, split)

  def _text(self, column: str, value: Any) -> str | bytes:
    """Converts a cell to what a row holds; "" where it is missing."""
    if column == "category":
      return self._path(value)
    if column == "split" and isinstance(value, bool):
      value = str(value)
    if column == "image":
      value = to_image(value)
      if isinstance(value, bytes):
        return value
    text = to_text(value)
    if len(text) <= self._longest and text.lower() in self._missing:
      self.missing[column][text] += 1
      return ""
    if column in _IDS and not self.reading.trust_ids:
      check_id(text, value)
    return text

  def _path(self, value: Any) -> str:
    """Converts a category to a path; most cells repeat an earlier one."""
    known = isinstance(value, str) and self._paths.get(value)
    if known:
      return known
    path = to_path(value, self._separator)
    levels = path.lower().split(" > ") if path else ()
    if not self._missing.isdisjoint(levels):
      return self._without_missing(path)
    if isinstance(value, str) and len(self._paths) < _PATHS:
      self._paths[value] = path
    return path

  def _without_missing(self, path: str) -> str:
    """Removes the levels of a category that stand for a missing value."""
    levels = path.split(" > ")
    words = [level for level in levels if level.lower() in self._missing]
    self.missing["category"].update(words)
    return " > ".join(level for level in levels if level not in words)
