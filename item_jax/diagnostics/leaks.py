"""Finds the listings of a data set that a run has seen in training."""

import itertools
from typing import NamedTuple

import numpy as np

from item_jax.bars import show_bar
from item_jax.data.copies import find_copies, sign
from item_jax.data.records import Dataset
from item_jax.ingest.row import is_numbered

_BATCH = 4096  # records whose images are held at once


class Seen(NamedTuple):
  """A listing that was seen in training."""

  listing_id: str
  product_id: str
  # Of the first training listing of its product, and of the first one whose
  # image is a copy of its own, the ids; "" where there is none.
  as_product: str
  as_image: str


class Training:
  """The products and images of a training split, to be compared with others."""

  def __init__(self, dataset: Dataset, split: str):
    """Reads the split.

    Raises:
      UserError: there is no such split, or a record cannot be read.
    """
    names, self._signs = _read(dataset, split)
    self._pictured = [listing for listing, _, pictured in names if pictured]
    self._products: dict[str, str] = {}
    for listing, product, _ in names:
      self._products.setdefault(product, listing)

  def find(self, dataset: Dataset, split: str) -> list[Seen]:
    """Lists the listings of a split whose product or image was seen.

    Products are compared by their ids, images as `data.copies` does. A row that
    had no id at all is named by its number, which is no one's product.

    Raises:
      UserError: there is no such split, or a record cannot be read.
    """
    names, signs = _read(dataset, split)
    copies = find_copies(signs, self._signs)
    found = []
    for listing, product, pictured in names:
      copy = next(copies) if pictured else -1
      seen = Seen(
        listing,
        product,
        "" if is_numbered(product) else self._products.get(product, ""),
        self._pictured[copy] if copy >= 0 else "",
      )
      if seen.as_product or seen.as_image:
        found.append(seen)
    return found


def _read(dataset: Dataset, split: str):
  """Reads of each listing its ids and whether it has an image; and the signs
  of the images."""
  source = dataset.source(split)
  names: list[tuple[str, str, bool]] = []
  signs = []
  with show_bar(total=len(source), desc=split) as bar:
    records = iter(source)
    while batch := list(itertools.islice(records, _BATCH)):
      names += [(r.listing_id, r.product_id, bool(r.image)) for r in batch]
      signs.append(sign(r.image for r in batch if r.image))
      bar.update(len(batch))
  return names, np.concatenate(signs)
