"""Finds regions of interest: where [CLS] looks on catalogues without boxes."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
import simplejpeg

from item_jax.bars import show_bar
from item_jax.data.records import BadRecord
from item_jax.data.square import place_in_square
from item_jax.errors import UserError
from item_jax.inference.boxes import Box
from item_jax.inference.disturb import Reader
from item_jax.inference.embedder import Embedder
from item_jax.inference.information import cls_attention, is_followed

HELD = 0.6  # of the attention on an image, that its region holds


def attention_boxes(
  embedder: Embedder, reader: Reader, rows: Sequence[int]
) -> dict[str, Box]:
  """Finds {listing id: its region}, of the listings that have an image.

  A region is the smallest rectangle of patches that holds `HELD` of what [CLS]
  gives to patches, mean of heads and layers, where the model is shown the whole
  listing. White that fills the square up does not count.

  Raises:
    UserError: the network has no [CLS] that reads image and title.
  """
  module = embedder.task.network.module
  if not is_followed(embedder.task):
    raise UserError(
      f"in the network model.name={embedder.config.model.name!r} no [CLS] reads"
      " image and title, so nothing says where it looks"
    )
  attend = jax.jit(functools.partial(cls_attention, module))
  source, found = reader.dataset.source(reader.split), {}
  left = list(rows)
  with show_bar(total=len(rows), desc="attention") as bar:
    for batch in reader.batches(rows):
      own, left = left[: reader.batch_size], left[reader.batch_size :]
      with jax.default_matmul_precision("highest"):
        weights_BLHS = np.asarray(attend(embedder.params, batch))
      weights_BN = weights_BLHS.mean((1, 2))[:, 1 : 1 + module.num_patches]
      for weights_N, row in zip(weights_BN, own, strict=False):
        try:
          record = source[row]
          if record.image and weights_N.any():
            height, width = simplejpeg.decode_jpeg_header(record.image)[:2]
            found[record.listing_id] = to_box(
              weights_N, int(height), int(width), reader.image_size
            )
        except (BadRecord, ValueError):  # simplejpeg's, of a broken JPEG
          continue
      bar.update(len(own))
  return found


def to_box(weights_N: np.ndarray, height: int, width: int, size: int) -> Box:
  """Makes the region of an image by the weights of its square's patches.

  Args:
    weights_N: of patches row by row, not all 0.
    height, width: of the stored image.
    size: the square's side in pixels.
  """
  side = round(len(weights_N) ** 0.5)
  top, left, high, wide = place_in_square(height, width, size)
  edges = np.arange(side + 1) * size / side
  shown_2 = [
    (edges[1:] > start) & (edges[:-1] < start + length)
    for start, length in ((top, high), (left, wide))
  ]
  weights_YX = weights_N.reshape(side, side) * np.outer(*shown_2)
  y0, x0, y1, x1 = edges[list(smallest(weights_YX, HELD))]
  x0, x1 = np.clip(((x0 - left) / wide, (x1 - left) / wide), 0, 1).tolist()
  y0, y1 = np.clip(((y0 - top) / high, (y1 - top) / high), 0, 1).tolist()
  return Box(x0, y0, x1, y1)


def smallest(weights_YX: np.ndarray, held: float) -> tuple[int, int, int, int]:
  """Finds the smallest rectangle with this part of the weights.

  Of equally small ones that with the most, then the first from the top left.

  Returns:
    y0, x0, y1, x1; the last two are past its end.
  """
  sums = np.pad(weights_YX.astype(np.float64), ((1, 0), (1, 0)))
  sums = sums.cumsum(0).cumsum(1)
  y0_P, y1_P = np.triu_indices(len(sums), 1)
  x0_P, x1_P = np.triu_indices(sums.shape[1], 1)
  y0_P, y1_P = y0_P[:, None], y1_P[:, None]
  inside_PP = sums[y1_P, x1_P] - sums[y0_P, x1_P]
  inside_PP += sums[y0_P, x0_P] - sums[y1_P, x0_P]
  area_PP = (y1_P - y0_P) * (x1_P - x0_P)
  # Rounded, so that the sums' last bits decide nothing.
  inside_PP = np.round(inside_PP / sums[-1, -1], 9)
  area_PP = np.where(inside_PP >= held, area_PP, area_PP.max() + 1)
  smallest_PP = area_PP == area_PP.min()
  y, x = np.unravel_index(
    np.argmax(np.where(smallest_PP, inside_PP, -1)), area_PP.shape
  )
  return int(y0_P[y, 0]), int(x0_P[x]), int(y1_P[y, 0]), int(x1_P[x])
