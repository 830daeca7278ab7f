"""Puts a convolutional network before the transformer, in place of patches."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.models import patches
from item_jax.models.passes import FrozenPass, Pass


class Stem(NamedTuple):
  """A network of images up to its last features; the functions are pure.

  init(key) -> params, those of the network by itself.
  grid(params, batch) -> float32 [B,side,side,C]. Batch norm takes its stored
    statistics, which no gradient moves. Rows without an image are arbitrary.
  """

  init: Callable
  grid: Callable
  side: int
  channels: int  # C
  cost: Pass  # of an image
  trained: bool = False
  kept: bool = False  # steps read its features from a file

  @property
  def passes(self) -> tuple[Pass, ...]:
    """What a step takes of it, of an image."""
    if self.kept:
      return ()
    return (self.cost if self.trained else FrozenPass(self.cost),)

  @property
  def frozen_flops(self) -> float:
    """Of `Network.frozen_flops`, of an image."""
    return 0.0 if self.trained or self.kept else self.cost.flops


def read_places(stem: Stem, params, batch: Batch, masked_BN=None):
  """Its features of every place, row by row, float32 [B,N,C].

  A stem that is trained sees grey where places are masked: else its features
  would hold what lies there. Of one that is not, the features may come with
  the batch, and no gradient reaches it.
  """
  image_BHWC = batch.image_BHWC
  if not stem.trained:
    params = jax.lax.stop_gradient(params)
  elif masked_BN is not None:
    patch = image_BHWC.shape[1] // stem.side
    image_BHWC = patches.blank(image_BHWC, masked_BN, patch)
  if batch.has_pixels:
    image_BHWC = stem.grid(params, batch._replace(image_BHWC=image_BHWC))
  grid_BNC = image_BHWC.reshape(len(image_BHWC), -1, stem.channels)
  return grid_BNC.astype(jnp.float32)


def averaged(stem: Stem, side: int) -> Stem:
  """The same with its grid averaged to fewer places."""
  means = _means(stem.side, side)

  def grid(params, batch):
    grid_BHWC = stem.grid(params, batch)
    return jnp.einsum("ih,jw,bhwc->bijc", means, means, grid_BHWC)

  return stem._replace(grid=grid, side=side)


def _means(old: int, new: int) -> np.ndarray:
  """[new,old]: of which old lines each new one is the mean.

  Line i covers the old ones from floor(i old / new) to ceil((i + 1) old / new),
  as PyTorch's adaptive_avg_pool2d has it.
  """
  means = np.zeros((new, old), np.float32)
  for i in range(new):
    part = slice(i * old // new, -(-(i + 1) * old // new))
    means[i, part] = 1 / (part.stop - part.start)
  return means
