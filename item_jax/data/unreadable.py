"""Skips records that cannot be read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from item_jax.data.images import BadImage
from item_jax.data.records import BadRecord, Record, Source

# Raised where a record, or its image, is corrupt.
UNREADABLE = (BadRecord, BadImage)
# More bad records in a row are a fault of the whole data set.
TRIES = 100


class RowOrder(Protocol):
  """order[position] is a row number."""

  def __getitem__(self, position: int) -> int: ...


class TooManyBadRecordsError(RuntimeError):
  """More records are unreadable than a run may skip."""


def first_good(
  read: Callable[[int], Any], order: RowOrder, position: int
) -> tuple[int, Any]:
  """Reads the first readable row at a position or after it.

  It depends only on the order and the position, so every worker, every host and
  every resumed run finds the same row.

  Args:
    read: row number -> anything; raises UNREADABLE.
    order: of the rows, without end.

  Returns:
    How many positions were skipped, and the row.

  Raises:
    TooManyBadRecordsError: `TRIES` in a row cannot be read.
  """
  last = None
  for further in range(TRIES):
    try:
      return further, read(order[position + further])
    except UNREADABLE as error:
      last = error
  raise TooManyBadRecordsError(
    f"{TRIES} records in a row cannot be read, the last: {last}"
  )


def readable(
  source: Source, numbers: Iterable[int] | None = None
) -> Iterator[Record]:
  """Yields the readable records, of these numbers or of all.

  Their images are not decoded, and may be corrupt.

  Raises:
    TooManyBadRecordsError: none can be read.
  """
  last, found = None, False
  for number in range(len(source)) if numbers is None else numbers:
    try:
      record = source[number]
    except BadRecord as error:
      last = error
      continue
    found = True
    yield record
  if last and not found:
    raise TooManyBadRecordsError(f"no record can be read, the last: {last}")


def most_unreadable(
  fraction: float, rows_read: int, rows_of_split: int
) -> float:
  """How many unreadable records do not stop a run.

  One in each pass never does, however small the split; at a fraction of 0
  every one does.
  """
  if not fraction:
    return 0
  passes = -(-rows_read // rows_of_split)
  return max(fraction * max(rows_read, rows_of_split), passes)


def listed(names: Sequence[str], most: int = 10) -> str:
  """Lists names for a message: the first ones, and how many more follow."""
  more = f" and {len(names) - most:,} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
