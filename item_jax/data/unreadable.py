"""Goes on where a record cannot be read: places and a way to read them in;
what can be read out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from item_jax.data.images import BadImage
from item_jax.data.records import BadRecord, Record, Source

# What a record raises that is not what was prepared: as a whole, or its photo.
UNREADABLE = (BadRecord, BadImage)
# So many bad records in a row are no accident of single ones.
TRIES = 100


class TooManyBadRecordsError(RuntimeError):
  """More records cannot be read than a run may leave out."""


def first_good(
  read: Callable[[int], Any], order, position: int
) -> tuple[int, Any]:
  """The first readable row at a position or after it.

  It depends on the order and the position alone, so every worker, every host
  and every resumption finds the same.

  Args:
    read: row number -> anything; raises UNREADABLE.
    order: order[position] is a row number, without end.

  Returns:
    How many positions were passed over, and what `read` gave.

  Raises:
    TooManyBadRecordsError: `TRIES` in a row cannot be read.
  """
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
  """The records that can be read, of these or of all; whatever their photos.

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


def listed(names: Sequence[str], most: int = 10) -> str:
  """Names for a message: the first ones, and how many more there are."""
  more = f" and {len(names) - most:,} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
