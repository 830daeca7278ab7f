"""Puts a convolutional network before the transformer, in place of patches."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.models import appearance, patches
from item_jax.models.passes import FrozenPass, Pass


class Stem(NamedTuple):
  """A network of images up to its last features; the functions are pure.

  init(key) -> params, those of the network by itself.
  grid(params, batch) -> float32 [B,side,side,values]. Batch norm takes its
    stored statistics, which no gradient moves. Rows without an image are
    arbitrary.
  spread: whether sides know how features vary over an image, beside their mean.
  seen: values after the C channels: the place's colours and outlines.
  """

  init: Callable
  grid: Callable
  side: int
  channels: int  # C
  cost: Pass  # of an image
  trained: bool = False
  kept: bool = False  # steps read its features from a file
  spread: bool = False
  seen: int = 0

  @property
  def values(self) -> int:
    """Of a place."""
    return self.channels + self.seen

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
  return _read(stem, params, batch, masked_BN)[..., : stem.channels]


def read_with_appearance(stem: Stem, params, batch: Batch, masked_BN=None):
  """What sides know of an image, zeros where places are masked.

  Returns:
    float32, its features [B,N,C], and appearances [B,N,seen].
  """
  places_BNP = _read(stem, params, batch, masked_BN)
  if masked_BN is not None:
    places_BNP = jnp.where(masked_BN[..., None], 0.0, places_BNP)
  return jnp.split(places_BNP, [stem.channels], axis=-1)


def _read(stem: Stem, params, batch: Batch, masked_BN):
  image_BHWC = batch.image_BHWC
  if not stem.trained:
    params = jax.lax.stop_gradient(params)
  elif masked_BN is not None:
    patch = image_BHWC.shape[1] // stem.side
    image_BHWC = patches.blank(image_BHWC, masked_BN, patch)
  if batch.has_pixels:
    image_BHWC = stem.grid(params, batch._replace(image_BHWC=image_BHWC))
  grid_BNP = image_BHWC.reshape(image_BHWC.shape[0], -1, stem.values)
  return grid_BNP.astype(jnp.float32)


def with_appearance(stem: Stem) -> Stem:
  """The same with each place's colours and outlines after its channels."""

  def grid(params, batch):
    grid_BHWC = stem.grid(params, batch)
    seen_BNK = appearance.by_place(batch.image_BHWC, stem.side)
    seen_BHWK = seen_BNK.reshape(*grid_BHWC.shape[:3], -1)
    return jnp.concatenate([grid_BHWC, seen_BHWK], axis=-1)

  return stem._replace(grid=grid, seen=appearance.values_of_place(stem.side))


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
