"""Finds images that look the same, however they were saved.

A shop that has no image of a product shows a placeholder: one picture under
many products, which a model would take for a sign that they match. Its copies
differ in size, quality and format, so they are compared as thumbnails of 8 x 8
pixels in colour. The usual hashes of 64 bits were tried and do worse on
products before a white wall: dhash is the same for hundreds of different ones,
and differs between copies as soon as a background is flat.
"""

import math
import sqlite3
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from item_jax.process_wide import one_blas_thread

SIDE = 8  # pixels of a thumbnail
_FINE = 32  # pixels of the intermediate size
# Copies of a plain picture differ by up to 1.1 and 6 of 255, in the mean of
# squares and at most; of four real catalogues' products no three are so near.
_MEAN = 2.5
_MOST = 6
_BLOCK = 256  # thumbnails compared with the others at once
_COMPARED = 50_000  # thumbnails in all, as the time grows with their square
# Products that have one image before it is called a placeholder.
_PRODUCTS = 5
_FRACTION = 0.001  # of all products, if that is more
_LARGEST = 10  # placeholders named
_LISTED = 100  # listings of each


def thumbnail(pixels: np.ndarray) -> bytes:
  """Shrinks an image to 8 x 8 pixels.

  Args:
    pixels: uint8 [height, width, 3].
  """
  # Averages over all pixels would cost twenty times as much.
  fine = cv2.resize(pixels, (_FINE, _FINE), interpolation=cv2.INTER_LINEAR)
  small = cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
  return small.tobytes()


def group_alike(
  thumbnails: Sequence[bytes], rows: Sequence[int], *, least: int
) -> list[list[int]]:
  """Groups the thumbnails that look the same.

  Args:
    thumbnails: as `thumbnail` gives them, each one once.
    rows: the number of rows that have each.
    least: the fewest rows of a group.

  Returns:
    The indices in `thumbnails` of each group, the group of most rows first.
  """
  if not thumbnails:
    return []
  pixels = np.frombuffer(b"".join(thumbnails), np.uint8)
  values = pixels.reshape(len(thumbnails), -1).astype(np.float32) - 128
  # What looks the same has nearly the same mean: only such are compared.
  means = values.mean(axis=1)
  order = np.argsort(means, kind="stable")
  values, means, counts = values[order], means[order], np.asarray(rows)[order]
  begins = np.searchsorted(means, means - _MEAN)
  ends = np.searchsorted(means, means + _MEAN, side="right")
  # More threads would wait for each other.
  with one_blas_thread():
    near = _count_near(values, counts, begins, ends)
  taken = np.zeros(len(values), bool)
  groups = []
  for leader in np.argsort(-near, kind="stable"):
    if near[leader] < least:
      break
    if taken[leader]:
      continue
    begin = begins[leader]
    away = np.abs(values[begin : ends[leader]] - values[leader])
    alike = (away.max(axis=1) <= _MOST) & ((away**2).mean(axis=1) <= _MEAN**2)
    members = begin + np.flatnonzero(alike & ~taken[begin : ends[leader]])
    if counts[members].sum() >= least:
      taken[members] = True
      groups.append(sorted(order[members].tolist()))
  return groups


def _count_near(values, rows, begins, ends):
  """Counts the rows of all thumbnails that may look like each one: an upper
  bound."""
  # Means of 2 x 2 pixels are nearer to each other than the pixels are.
  coarse = values.reshape(-1, SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(2, 4))
  coarse = coarse.reshape(len(values), -1)
  squares = (coarse**2).sum(axis=1)
  limit = coarse.shape[1] * _MEAN**2 + 16  # for rounding in float32
  rows = rows.astype(np.float32)  # matrix products of floats are fast
  near = np.empty(len(values))
  for start in range(0, len(values), _BLOCK):
    block = slice(start, start + _BLOCK)
    others = slice(begins[start], ends[block][-1])
    apart = squares[block, None] + squares[others]
    apart -= 2 * coarse[block] @ coarse[others].T
    near[block] = (apart <= limit) @ rows[others]
  return near


def find_placeholders(database: sqlite3.Connection) -> list[dict[str, Any]]:
  """Finds images that many products share, the one of most listings first.

  Args:
    database: with the table `rows` of CatalogueStatistics.

  Returns:
    Of each: its numbers of listings and products, the first of its files'
    names, and the ids of the first listings, sorted as text.
  """
  (products,) = database.execute(
    "SELECT COUNT(DISTINCT product) FROM rows"
  ).fetchone()
  least = max(_PRODUCTS, math.ceil(products * _FRACTION))
  _write_alike(database, least)
  found = database.execute(
    "SELECT picture, COUNT(*) AS n, COUNT(DISTINCT product) AS several,"
    " MIN(name) FROM rows JOIN alike USING (thumbnail) GROUP BY picture"
    " HAVING several >= ? ORDER BY n DESC, picture LIMIT ?",
    (least, _LARGEST),
  ).fetchall()
  return [
    {
      "listings": listings,
      "products": several,
      "image": image,
      "listing_ids": _first_listings(database, picture),
    }
    for picture, listings, several, image in found
  ]


def _write_alike(database, least):
  """Writes the table `alike`: each thumbnail's picture, as a number."""
  # Those of most rows first; the hash decides among the others.
  found = database.execute(
    "SELECT thumbnail, COUNT(*) AS n FROM rows WHERE thumbnail IS NOT NULL"
    " GROUP BY thumbnail ORDER BY n DESC, MIN(image) LIMIT ?",
    (_COMPARED,),
  ).fetchall()
  thumbnails = [thumbnail for thumbnail, _ in found]
  groups = group_alike(thumbnails, [rows for _, rows in found], least=least)
  database.execute("DROP TABLE IF EXISTS alike")
  database.execute(
    "CREATE TABLE alike (thumbnail BLOB PRIMARY KEY, picture INTEGER)"
  )
  database.executemany(
    "INSERT INTO alike VALUES (?, ?)",
    (
      (thumbnails[index], picture)
      for picture, group in enumerate(groups)
      for index in group
    ),
  )


def _first_listings(database, picture):
  listings = database.execute(
    "SELECT listing FROM rows JOIN alike USING (thumbnail)"
    " WHERE picture = ? ORDER BY listing LIMIT ?",
    (picture, _LISTED),
  )
  return [listing for (listing,) in listings]
