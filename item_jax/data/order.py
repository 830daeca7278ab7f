"""Orders the rows of a split for reading, and lists the rows of a batch."""

from collections.abc import Sequence

import grain

from item_jax.components import find_task
from item_jax.config import Config
from item_jax.data import images
from item_jax.data.product_order import ProductOrder, read_products
from item_jax.data.records import BadRecord, Dataset
from item_jax.data.unreadable import RowOrder, first_good


def training_order(config: Config, dataset: Dataset) -> RowOrder:
  """The endless order in which a run reads its training split.

  Raises:
    UserError: the task pairs listings, and none has a partner.
  """
  split = config.data.train_split
  if not find_task(config.task).paired:
    return Order(dataset.sizes[split], config.seed)
  return ProductOrder(
    *read_products(dataset, split),
    options=config.products,
    batch_size=config.batch_size,
    seed=config.seed,
  )


class Order:
  """Shuffles rows anew in each pass: order[position] is a row, without end."""

  def __init__(self, rows: int, seed: int):
    self._order = grain.MapDataset.range(rows).seed(seed).shuffle().repeat()

  def __getitem__(self, position: int) -> int:
    row = self._order[position]
    assert row is not None  # the order leaves none out
    return int(row)


class InOrder:
  """Keeps rows in their order; after the last one comes the last one again."""

  def __init__(self, rows: Sequence[int]):
    self._rows = rows

  def __getitem__(self, position: int) -> int:
    return self._rows[min(position, len(self._rows) - 1)]


def listing_ids(config: Config, dataset: Dataset, step: int) -> list[str]:
  """Lists the listings of batch `step`, for a log of what went wrong there."""
  source = dataset.source(config.data.train_split)
  order = training_order(config, dataset)

  def read(number: int) -> str:
    record = source[number]
    if record.image:  # where it cannot be read the row was skipped
      images.load_square(record.image, config.model.image_size)
    return record.listing_id

  first = step * config.batch_size
  places = range(first, first + config.batch_size)
  return [first_good(read, order, place)[1] for place in places]


def bad_ids(
  config: Config, dataset: Dataset, step: int, rows: Sequence[int]
) -> list[str]:
  """Lists the unreadable listings that belong in these rows of batch `step`.

  A row of which not even the listing id can be read is called "train[1234]".
  """
  split = config.data.train_split
  source, order = dataset.source(split), training_order(config, dataset)
  ids = []
  for row in rows:
    number = order[step * config.batch_size + row]
    try:
      ids.append(source[number].listing_id)
    except BadRecord:
      ids.append(f"{split}[{number}]")
  return ids
