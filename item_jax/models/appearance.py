"""Sees colours and outlines in images: what needs no training.

A product is found again by colours where it is the same, and by outlines where
it comes in others.
"""

import jax
import jax.numpy as jnp

from item_jax.models import patches
from item_jax.models.layers import unit

SIDE = 8  # places, or about as many cells, a side of an image
_CELL = 8  # pixels a side of a cell
_BINS = 8  # directions of an outline, from 0 to 180 degrees


def by_place(image_BHWC, side: int):
  """Colours and outlines of uint8 images by place, float32 [B,N,values].

  A thumbnail, in which a product is found again in the same colours, and
  histograms of gradients, in which it is found in others.

  Args:
    side: places a side, N in all.
  """
  B, cells = image_BHWC.shape[0], side * _cells(side)
  pixels = patches.normalise(image_BHWC)
  colours = jax.image.resize(pixels, (B, cells, cells, 3), "linear")
  size = cells * _CELL
  looked_at = jax.image.resize(pixels, (B, size, size, 3), "linear")
  found_BHWC = jnp.concatenate(
    [colours, gradient_histograms(looked_at)], axis=-1
  )
  return patches.to_patches(found_BHWC, _cells(side))


def values_of_place(side: int) -> int:
  """How many numbers `by_place` gives of each of side x side places."""
  return _cells(side) ** 2 * (3 + _BINS)


def _cells(side: int) -> int:
  """Cells a side of a place: where places are few they hold more."""
  return max(1, round(SIDE / side))


def flat(seen_BNK):
  """What `by_place` gives, as one vector: both halves of unit length."""
  B = seen_BNK.shape[0]
  halves = jnp.split(seen_BNK.reshape(B, -1, 3 + _BINS), [3], axis=-1)
  return jnp.concatenate([unit(x.reshape(B, -1)) for x in halves], axis=-1)


def gradient_histograms(pixels_BHWC):
  """Histograms of gradients, float32 [B, H / 8, W / 8, bins].

  Of each pixel counts the channel that changes most; its direction is shared
  between the two nearest bins. A cell has the square roots of the sums.

  source: Dalal and Triggs 2005, without their blocks.

  Args:
    pixels_BHWC: float; H and W are multiples of 8, the pixels of a cell.
  """
  B, H, W, _ = pixels_BHWC.shape
  down, across = (
    jnp.pad(
      jax.lax.slice_in_dim(pixels_BHWC, 2, None, axis=axis)
      - jax.lax.slice_in_dim(pixels_BHWC, 0, size - 2, axis=axis),
      [(0, 0)] * axis + [(1, 1)] + [(0, 0)] * (3 - axis),
    )
    for axis, size in ((1, H), (2, W))
  )
  size_BHWC = jnp.hypot(down, across)
  most_BHW1 = size_BHWC.argmax(-1, keepdims=True)
  size_BHW, down_BHW, across_BHW = (
    jnp.take_along_axis(x, most_BHW1, axis=-1)[..., 0]
    for x in (size_BHWC, down, across)
  )
  bin_BHW = jnp.arctan2(down_BHW, across_BHW) * (_BINS / jnp.pi)
  # How far each bin is, on a ring.
  off_BHWO = bin_BHW[..., None] - jnp.arange(_BINS)
  off_BHWO = jnp.abs((off_BHWO + _BINS / 2) % _BINS - _BINS / 2)
  counted_BHWO = size_BHW[..., None] * jnp.maximum(1 - off_BHWO, 0)
  shape = B, H // _CELL, _CELL, W // _CELL, _CELL, _BINS
  return jnp.sqrt(counted_BHWO.reshape(shape).sum((2, 4)))
