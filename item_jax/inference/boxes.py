"""Crops images to given regions of interest."""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from item_jax.data.images import encode
from item_jax.data.records import Record
from item_jax.errors import UserError
from item_jax.evaluation.columns import read_columns
from item_jax.inference.image_changes import decode
from item_jax.ingest.readers.cells import to_text


class Box(NamedTuple):
  """A region, in fractions of the width and height, from the top left."""

  x0: float
  y0: float
  x1: float
  y1: float


def read_boxes(path: str | os.PathLike) -> dict[str, Box]:
  """Reads {listing id: Box} of a table with the columns id, x0, y0, x1, y1.

  The table is of any format that `prepare` reads.

  Raises:
    UserError: naming the row, where a box is none or an id has two.
  """
  ids, *sides = read_columns(
    path, [("id", "listing_id"), *((name,) for name in Box._fields)]
  )
  found: dict[str, Box] = {}
  for row, (listing, *cells) in enumerate(zip(ids, *sides, strict=True)):
    try:
      listing, box = to_text(listing), Box(*map(float, cells))
    except (TypeError, ValueError) as error:
      raise UserError(f"{path}: row {row}: a cell {error}") from error
    inside = 0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1
    if not inside:
      raise UserError(
        f"{path}: row {row} has the box {', '.join(map(str, box))}; expected"
        " fractions of the image's width and height, 0 <= x0 < x1 <= 1 and"
        " 0 <= y0 < y1 <= 1"
      )
    if listing in found:
      raise UserError(f"{path}: row {row}: id {listing!r} has a box already")
    found[listing] = box
  if not found:
    raise UserError(f"{path} has no row; expected a box for some listings")
  return found


def crop_record(record: Record, *, boxes: Mapping[str, Box]) -> Record:
  """Crops the record's image to its box, where it has one.

  Raises:
    BadImage: the JPEG is broken.
  """
  box = boxes.get(record.listing_id)
  if box is None or not record.image:
    return record
  pixels_HWC = decode(record.image)
  height, width = pixels_HWC.shape[:2]
  # Outwards, so that there is a pixel.
  part_HWC = pixels_HWC[
    math.floor(box.y0 * height) : math.ceil(box.y1 * height),
    math.floor(box.x0 * width) : math.ceil(box.x1 * width),
  ]
  return record._replace(image=encode(np.ascontiguousarray(part_HWC)))
