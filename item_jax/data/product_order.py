"""Orders the rows of a split in pairs of listings of one product.

The endless order is made of units: two rows that stand side by side. A pass
holds, in random order, every listing that has a partner, and as many of those
without one as are wanted, each twice. A product with an odd number of listings
has one of them in two units.

Of each batch the first rows are hard: they come from one leaf category at a
time, so that a listing is compared with what looks like it.

A pass is a function of its number and the seed, drawn from the bits of Philox,
which numpy keeps the same for ever.
"""

import functools
import logging
import time

import numpy as np

from item_jax.config_products import Products
from item_jax.data.records import BadRecord, Dataset
from item_jax.errors import UserError

logger = logging.getLogger(__name__)

_SINGLES = 1 << 63  # apart from the numbers of passes


@functools.lru_cache(maxsize=2)
def read_products(
  dataset: Dataset, split: str
) -> tuple[np.ndarray, np.ndarray]:
  """Reads which product and which leaf category each row of a split has.

  Returns:
    int [R] twice; numbers in the order of their first row. A record that cannot
    be read is a product of its own.
  """
  begin = time.perf_counter()
  source = dataset.source(split)
  products, leaves = {}, {}
  codes_R2 = np.empty((len(source), 2), np.int64)
  for row in range(len(source)):
    try:
      record = source[row]
      product, leaf = record.product_id, record.category
    except BadRecord:
      product, leaf = row, ""  # no id is an int
    codes_R2[row] = (
      products.setdefault(product, len(products)),
      leaves.setdefault(leaf, len(leaves)),
    )
  seconds = time.perf_counter() - begin
  logger.info(
    f"{len(products):,} products of {len(source):,} listings, read in"
    f" {seconds:.1f} s"
  )
  shared = dataset.catalogue["in_several_splits"]["products"]["distinct"]
  if shared:
    logger.warning(
      f"{shared:,} products are in several splits: what is measured on another"
      f" than {split!r} is not only of products never trained on"
    )
  return codes_R2[:, 0], codes_R2[:, 1]


class ProductOrder:
  """Pairs rows by product: order[position] is a row, without end."""

  def __init__(
    self,
    product_R: np.ndarray,
    leaf_R: np.ndarray,
    *,
    options: Products,
    batch_size: int,
    seed: int,
  ):
    """Takes the product and the leaf category of each row.

    Raises:
      UserError: no product has two rows, all are of one, or half of a row would
        be needed.
    """
    if batch_size % 2:
      raise UserError(
        f"batch_size={batch_size}: the task's batches are pairs of listings,"
        " expected an even number"
      )
    several_R = np.bincount(product_R)[product_R] > 1
    if not several_R.any():
      raise UserError(
        f"none of {len(product_R):,} listings shares its product with another:"
        " expected product ids that several listings have"
      )
    if len(np.unique(product_R)) == 1:
      raise UserError(
        f"all {len(product_R):,} listings are of one product: there is none to"
        " tell it from; expected product ids of two products or more"
      )
    self._seed = seed % (1 << 64)
    self._leaf_R = leaf_R
    self._batch_units = batch_size // 2
    self._hard_units = round(options.hard * self._batch_units)
    self._rows = np.flatnonzero(several_R)
    self._product = product_R[self._rows]
    self._alone = np.flatnonzero(~several_R)
    pairs = int((-(-np.bincount(self._product) // 2)).sum())
    self._singles = len(self._alone)
    if options.singles < 1:
      most = pairs * options.singles / (1 - options.singles)
      self._singles = min(self._singles, round(most))
    self._units = pairs + self._singles
    self._passes: dict[int, np.ndarray] = {}

  def __getitem__(self, position: int) -> int:
    unit, side = divmod(int(position), 2)
    number, unit = divmod(unit, self._units)
    found = self._passes.get(number)
    if found is None:
      found = self._pass(number)
      # Threads that read ahead are in two passes at a time. Replaced whole: no
      # thread sees half of it.
      kept = {n: x for n, x in self._passes.items() if abs(n - number) == 1}
      self._passes = kept | {number: found}
    return int(found[unit, side])

  def _pass(self, number: int) -> np.ndarray:
    """Draws the units of a pass: rows, int [U,2]."""
    draw = np.random.Philox(key=[self._seed, number]).random_raw
    begin = number * self._singles
    single = self._draw_singles(begin, begin + self._singles)
    units_U2 = np.concatenate(
      [self._draw_pairs(draw), np.stack([single, single], axis=1)]
    )
    order_U = np.argsort(draw(self._units))
    place_U = number * self._units + np.arange(self._units)
    hard_U = place_U % self._batch_units < self._hard_units
    hard, easy = np.split(order_U, [hard_U.sum()])
    order_U = np.empty_like(order_U)
    order_U[hard_U] = hard[self._by_leaf(draw, units_U2[hard, 0])]
    order_U[~hard_U] = easy
    return units_U2[order_U]

  def _draw_pairs(self, draw) -> np.ndarray:
    """Pairs the rows of each product; of an odd one the last with its first."""
    by = np.lexsort((draw(len(self._rows)), self._product))
    product = self._product[by]
    start = np.searchsorted(product, product)
    end = np.searchsorted(product, product, side="right")
    place = np.arange(len(by))
    first = place[(place - start) % 2 == 0]
    second = np.where(first + 1 < end[first], first + 1, start[first])
    return self._rows[by[np.stack([first, second], axis=1)]]

  def _draw_singles(self, start: int, stop: int) -> np.ndarray:
    """Takes a stretch of the endless order of rows without a partner."""
    size = len(self._alone)
    if start == stop:
      return self._alone[:0]
    passes = range(start // size, -(-stop // size))
    bits = [np.random.Philox(key=[self._seed, _SINGLES + n]) for n in passes]
    orders = [np.argsort(one.random_raw(size)) for one in bits]
    begin = passes[0] * size
    return self._alone[np.concatenate(orders)][start - begin : stop - begin]

  def _by_leaf(self, draw, rows: np.ndarray) -> np.ndarray:
    """Orders rows in groups of one leaf, as many as are hard in a batch."""
    if not len(rows):
      return np.arange(0)
    leaf = self._leaf_R[rows]
    by = np.argsort(leaf, kind="stable")
    leaf = leaf[by]
    place = np.arange(len(rows)) - np.searchsorted(leaf, leaf)
    group = np.cumsum(place % self._hard_units == 0) - 1
    lot = draw(group[-1] + 1)
    return by[np.argsort(lot[group], kind="stable")]
