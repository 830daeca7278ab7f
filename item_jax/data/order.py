"""Says which row stands where, and who was in a batch: a Store and a seed in,
row numbers and listing ids out."""

from collections.abc import Sequence

import grain

from item_jax.data import images
from item_jax.data.records import BadRecord, Store
from item_jax.data.unreadable import first_good


class Order:
  """order[position] is a row of the endless sequence, each pass shuffled."""

  def __init__(self, rows: int, seed: int):
    self._order = grain.MapDataset.range(rows).seed(seed).shuffle().repeat()

  def __getitem__(self, position: int) -> int:
    return int(self._order[position])


class InOrder:
  """Rows in the order given; the last one stands wherever none is."""

  def __init__(self, rows: Sequence[int]):
    self._rows = rows

  def __getitem__(self, position: int) -> int:
    return self._rows[min(position, len(self._rows) - 1)]


def listing_ids(
  store: Store,
  split: str,
  *,
  image_size: int,
  batch_size: int,
  seed: int,
  step: int,
) -> list[str]:
  """Who was in batch `step`: for a log of what went wrong there."""
  order = Order(store.sizes[split], seed)
  source = store.source(split)

  def read(number: int) -> str:
    record = source[number]
    if record.image:
      images.load_square(record.image, image_size)  # or it was passed over
    return record.listing_id

  first = step * batch_size
  return [first_good(read, order, first + row)[1] for row in range(batch_size)]


def bad_ids(
  store: Store,
  split: str,
  rows: Sequence[int],
  *,
  batch_size: int,
  seed: int,
  step: int,
) -> list[str]:
  """Who should have been in these rows of batch `step` and was not.

  A row of which not even the listing id can be read is "train[1234]".
  """
  order = Order(store.sizes[split], seed)
  source = store.source(split)
  ids = []
  for row in rows:
    number = order[step * batch_size + row]
    try:
      ids.append(source[number].listing_id)
    except BadRecord:
      ids.append(f"{split}[{number}]")
  return ids
