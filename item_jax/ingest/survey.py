"""Checks a whole catalogue before its first image is read."""

from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.plausible import find_outsized
from item_jax.ingest.row import Row, hash_split

MAX_SPLITS = 16  # a column with more values is no column of splits
_BOOLS = ("True", "False", "true", "false", "TRUE", "FALSE")
_SHOWN = 3  # products in an error, and titles of each


class Survey(NamedTuple):
  """What must be known about all rows before the first one is stored.

  rows: their number. split_of: gives the split of a product, for rows that name
  none. followed: rows that get the split of another row of their product.
  """

  rows: int
  split_of: Callable[[str], str]
  followed: int


def survey(catalogue: Catalogue, *, train: bool) -> Survey:
  """Reads all rows once, without images: 9 bytes of memory a row.

  Args:
    train: whether a vocabulary is to be trained on the titles of "train".

  Raises:
    UserError: there is no row; more splits than a catalogue can have, or no
      row in the one needed; a product that holds too many rows.
  """
  keys, codes = array("q"), array("B")  # of each row: product and split
  names: dict[str, int] = {"": 0}  # splits; "" is none given
  rows = 0
  titles = False
  for row in catalogue.products():
    rows += 1
    if row is None:
      continue
    product, split, title = row
    titles = titles or title
    # A row without a product is one of its own: its number is no hash.
    keys.append(hash(product) if product else rows)
    codes.append(names.setdefault(split, len(names)))
    if len(names) > MAX_SPLITS + 1:
      raise UserError(
        f"more than {MAX_SPLITS} splits, among them"
        f" {', '.join(sorted(names)[1:6])}: is that the right column?"
      )
  if not rows:
    raise UserError(f"{catalogue.name} has a header and no row")
  keys_N, codes_N = np.frombuffer(keys, "q"), np.frombuffer(codes, "B")
  if train and titles and codes_N.all() and "train" not in names:
    raise UserError(
      "no row is in the split train, on whose titles the vocabulary is"
      f" trained; the splits are {', '.join(sorted(names)[1:])}. --tokenizer"
      " FILE takes a ready one; a table without the column is divided by its"
      " products"
    )
  if not catalogue.reading.trust_ids:
    found = set(np.unique(keys_N).tolist())
    if found and found <= set(map(hash, _BOOLS)):
      raise UserError(
        "product_id holds nothing but true and false: expected the ids of"
        " products"
      )
    _check_sizes(catalogue, keys_N)
  follow = _follow(keys_N, codes_N, [*names])
  return Survey(
    rows,
    lambda product: follow.get(hash(product)) or hash_split(product),
    int(np.isin(keys_N[codes_N == 0], np.fromiter(follow, "q")).sum()),
  )


def _follow(keys_N, codes_N, names) -> dict[int, str]:
  """Finds the split of products for which only some rows name one.

  Of several names the first one counts.
  """
  given = codes_N > 0
  if given.all() or not given.any():
    return {}
  found, first = np.unique(keys_N[given], return_index=True)
  both = np.isin(found, keys_N[~given])
  codes = codes_N[given][first[both]]
  pairs = zip(found[both].tolist(), codes.tolist(), strict=True)
  return {key: names[code] for key, code in pairs}


def _check_sizes(catalogue: Catalogue, keys_N) -> None:
  """Refuses products that are too large: their id means "none"."""
  found, sizes = np.unique(keys_N, return_counts=True)
  suspects = {
    int(found[at]): outsized for at, outsized in find_outsized(sizes).items()
  }
  if not suspects:
    return
  counted = bool(np.isin(hash("1"), found))
  titles: dict[str, list[str]] = {}
  for row in catalogue.rows():
    if not isinstance(row, Row):
      continue
    outsized = suspects.get(hash(row.product_id))
    if outsized and outsized.implausible(row.product_id, counted=counted):
      shown = titles.setdefault(row.product_id, [])
      if row.title and row.title not in shown and len(shown) < _SHOWN:
        shown.append(row.title)
  if titles:
    raise UserError(_refusal(titles, dict(zip(found, sizes, strict=True))))


def _refusal(titles, sizes) -> str:
  rows = sum(sizes.values())
  lines = []
  for product, shown in list(titles.items())[:_SHOWN]:
    size = sizes[hash(product)]
    named = "; ".join(map(repr, shown)) or "none with a title"
    lines.append(
      f"product_id {product!r} holds {size:,} of {rows:,} listings"
      f" ({size / rows:.1%}), among them {named}"
    )
  return (
    f"{'. '.join(lines)}. That seems to be no product but a word for a missing"
    " id, or an id that was cut: --missing names words that mean missing,"
    " --trust_ids takes ids as they are"
  )
