"""Holds vectors with their categories and products, and selects from them."""

import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError, name_kind
from item_jax.evaluation import labels, metrics
from item_jax.evaluation.mixed import reduce
from item_jax.evaluation.vectors import as_vectors, lengths


class Rows(NamedTuple):
  """N rows of one split."""

  vectors_ND: Any  # float, no row of zeros; `Mixed` until `make_parts`
  categories: list[str]  # "" where a row has none
  ids: list[str]  # of equal cosines the smaller id is nearer
  products: list[str]  # "" is a product of its own


def make_parts(
  train: Any, val: Any, test: Any
) -> tuple[Rows, Rows | None, Rows]:
  """Makes Rows of all, but of None for `val`; sparse vectors become dense.

  Raises:
    UserError: as `make_rows`, or sparse columns that cannot be matched.
  """
  given = [make_rows("train", train), make_rows("test", test)]
  if val is not None:
    given.append(make_rows("val", val))
  dense = reduce(*(rows.vectors_ND for rows in given))
  made_train, made_test, *made_val = (
    rows._replace(vectors_ND=vectors_ND)
    for rows, vectors_ND in zip(given, dense, strict=True)
  )
  return made_train, made_val[0] if made_val else None, made_test


def make_rows(name: str, given: Any) -> Rows:
  """Makes Rows; ids and products that are not given are made up in order.

  Args:
    name: of the argument, for errors.
    given: (vectors, categories), or more of the fields of Rows; vectors as of
      `as_vectors`. Who has no category, or product, has "", None or NaN.

  Raises:
    UserError: it is none of these, its parts differ in length, there is no row,
      or its categories are of kinds that have no order.
  """
  if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 4:
    raise UserError(
      f"{name}={name_kind(given)}: expected (vectors, categories), or also ids"
      " and products; or exports as train, val and test"
    )
  vectors_ND, categories, ids, products, *_ = *given, None, None
  size = len(categories)
  rows = Rows(
    vectors_ND,
    list(categories),
    [f"{row:09}" for row in range(size)] if ids is None else list(ids),
    [
      "" if labels.absent(name) else str(name)
      for name in ([""] * size if products is None else products)
    ],
  )
  sparse = hasattr(vectors_ND, "tocsr")  # which has no len
  count = vectors_ND.shape[0] if sparse else len(vectors_ND)
  if {count, *(len(part) for part in rows[1:])} != {size}:
    raise UserError(
      f"{name}: {count} vectors, {size} categories, {len(rows.ids)} ids and"
      f" {len(rows.products)} products; expected as many of each"
    )
  if not size:
    raise UserError(f"{name}: no rows")
  try:
    sorted({label for label in rows.categories if not labels.absent(label)})
  except TypeError as error:
    raise UserError(
      f"{name}: categories have no order ({error}): expected texts, or numbers"
    ) from error
  return rows._replace(vectors_ND=as_vectors(vectors_ND, rows.ids))


def check_rows(**parts: Rows) -> None:
  """Refuses rows without a direction, and parts of several widths.

  Raises:
    UserError: naming the part.
  """
  for name, rows in parts.items():
    lengths(rows.vectors_ND, rows.ids, source=name)
  widths = {name: rows.vectors_ND.shape[1] for name, rows in parts.items()}
  if len(set(widths.values())) > 1:
    raise UserError(f"values in a row: {widths}; expected as many of each")


def of_category(rows: Rows, known: Collection[str] | None = None) -> Rows:
  """Selects the rows that have a category (one of `known`, if given)."""
  return _take(
    rows,
    [
      row
      for row, label in enumerate(rows.categories)
      if (label in known if known else not labels.absent(label))
    ],
  )


def _take(rows: Rows, numbers) -> Rows:
  return Rows(
    np.asarray(rows.vectors_ND)[numbers],
    *(
      [part[number] for number in numbers]
      for part in (rows.categories, rows.ids, rows.products)
    ),
  )


def split(train: Rows) -> tuple[Rows, Rows]:
  """Splits rows into nine tenths and one tenth of the products, by a hash.

  Products with a category that only the tenth would have stay in training:
  it would be no class any more, and nothing can be chosen by it.
  """
  names = metrics.own_names(train.products)
  kept = np.array([zlib.crc32(name.encode()) % 10 > 0 for name in names], bool)
  category_N = np.array(train.categories, object)
  lost = set(category_N[~kept]) - set(category_N[kept])
  needed = {
    name
    for name, label in zip(names, train.categories, strict=True)
    if label in lost
  }
  kept |= np.array([name in needed for name in names], bool)
  return (
    _take(train, np.flatnonzero(kept)),
    _take(train, np.flatnonzero(~kept)),
  )
