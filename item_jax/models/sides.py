"""Vectors of the image and of the title that pass the transformer by.

paper: not stated; ours, because a frozen network's features, outlines, colours
and counts of words find more products than [CLS] does after minutes of
training, and because [CLS] is asked for what image and title have in common,
and not for what tells them apart from others. The embedding is [CLS] and the
sides, each of unit length and weighted, so that a cosine is a weighted sum: of
an image its appearance, behind a stem the stem's features too, and the title.

The sides begin as what needs no training: what is known of the image, whitened
on the training split, and the title's words, weighted by how rare they are:
those that say most in a direction of their own, the others in random ones
(Johnson and Lindenstrauss 1984). Training moves them from there.
"""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.models import appearance, words
from item_jax.models.layers import unit
from item_jax.models.stem import Stem, read_with_appearance

# Of the image's share in a cosine. On fashion from one studio even shares find
# a little more, on other shops' images, of which whitening knows nothing, less.
_FEATURES_AND_APPEARANCE = 0.7, 0.3
_LEAST_VARIANCE = 1e-6


class Sides(nn.Module):
  """Fields:

  width: of each side. channels: {name: values} of what is known of an image.
  vocab_size: rows of the token table. cls_share: of [CLS] in a cosine, before
  training. whole_words: the title side is of words and not of their pieces.
  """

  width: int
  channels: Mapping[str, int]
  vocab_size: int
  cls_share: float
  whole_words: bool = True

  @nn.compact
  def __call__(self, g_BD, images, tokens_BT, real_BT):
    """The embedding [B, D + sides x width], float32: [CLS], image, title.

    Args:
      g_BD: states at [CLS].
      images: {name of `channels`: [B,C]}; zeros where there is no image.
      real_BT: bool, whether a token is there.
    """
    parts = [unit(g_BD)]
    for name, size in self.channels.items():
      parts.append(self._image(name, size, images[name]))
    parts.append(self._title(tokens_BT, real_BT))
    shares_P = self.param(
      "shares", lambda _: jnp.log(jnp.array(self._shares()))
    )
    weight_P = jnp.sqrt(jax.nn.softmax(shares_P))
    return jnp.concatenate(
      [weight_P[number] * part for number, part in enumerate(parts)], axis=-1
    )

  def _image(self, name: str, size: int, image_BC):
    mean_C = self.param(f"{name}_mean", nn.initializers.zeros, (size,))
    kernel_CW = self.param(
      f"{name}_kernel", nn.initializers.normal(1.0), (size, self.width)
    )
    has_B1 = (image_BC != 0).any(-1, keepdims=True)
    centred_BC = unit(image_BC) - jax.lax.stop_gradient(mean_C)
    return jnp.where(has_B1, unit(centred_BC @ kernel_CW), 0.0)

  def _title(self, tokens_BT, real_BT):
    V, W = self.vocab_size, self.width
    word_VW = self.param("word", nn.initializers.normal(W**-0.5), (V, W))
    zeros = nn.initializers.zeros
    rarity_V = self.param("rarity", zeros, (V,))
    word_BTW, rarity_BT = word_VW[tokens_BT], rarity_V[tokens_BT]
    if self.whole_words:
      joins_V = jax.lax.stop_gradient(self.param("joins", zeros, (V,)))
      found = words.find_words(tokens_BT, real_BT, joins_V)
      long_V = self.param("long_rarity", zeros, (V,))
      rarity_BT = jnp.where(found.many_BT, long_V[found.code_BT % V], rarity_BT)
      # The first half is of words with a direction of their own (`fit_sides`).
      long_BTW = words.directions(found.code_BT, W - W // 2)
      long_BTW = jnp.pad(long_BTW, ((0, 0), (0, 0), (W // 2, 0)))
      word_BTW = jnp.where(found.many_BT[..., None], long_BTW, word_BTW)
      real_BT = found.first_BT
    weight_BT = jnp.where(real_BT, jax.nn.softplus(rarity_BT), 0.0)
    return unit(jnp.einsum("bt,btw->bw", weight_BT, word_BTW))

  def _shares(self) -> list[float]:
    """Of [CLS], of each part of the image and of the title, before training."""
    side = (1 - self.cls_share) / 2
    images = [side]
    if len(self.channels) == 2:
      images = [side * share for share in _FEATURES_AND_APPEARANCE]
    return [self.cls_share, *images, side]


def channels(stem: Stem | None) -> dict[str, int]:
  """{name: values} of what is known of an image."""
  if stem is None:
    side = appearance.SIDE
    return {"appearance": side**2 * appearance.values_of_place(side)}
  of_features = stem.channels * (1 + stem.spread)
  return {"image": of_features, "appearance": stem.side**2 * stem.seen}


def image_features(stem: Stem | None, params, batch: Batch, masked_BN) -> dict:
  """What is known of an image, {name of `channels`: float32 [B,C]}.

  The mean, and of some stems the deviation, of features of places that are not
  masked, and colours and outlines; zeros without an image.

  Args:
    params: the stem's. masked_BN: None where nothing is.
  """
  if stem is None:
    seen_BNK, found = appearance.by_place(batch.image_BHWC, appearance.SIDE), {}
    if masked_BN is not None:
      masked_BN = _by_cell(masked_BN, appearance.SIDE)
      seen_BNK = jnp.where(masked_BN[..., None], 0.0, seen_BNK)
  else:
    places_BNC, seen_BNK = read_with_appearance(stem, params, batch, masked_BN)
    if stem.spread:
      found = {"image": _mean_and_deviation(places_BNC, masked_BN)}
    else:
      found = {"image": places_BNC.sum(1)}  # its length is not looked at
  found["appearance"] = appearance.flat(seen_BNK)
  has_B1 = batch.has_image_B[:, None]
  return {name: jnp.where(has_B1, x_BC, 0.0) for name, x_BC in found.items()}


def _mean_and_deviation(places_BNC, masked_BN):
  """Of each channel over places that are not masked, both of unit length."""
  seen_BN1 = jnp.ones((*places_BNC.shape[:2], 1))
  if masked_BN is not None:
    seen_BN1 -= masked_BN[..., None]
  share_BN1 = seen_BN1 / jnp.maximum(seen_BN1.sum(1, keepdims=True), 1)
  mean_BC = (share_BN1 * places_BNC).sum(1)
  square_BNC = jnp.square(places_BNC - mean_BC[:, None])
  variance_BC = (share_BN1 * square_BNC).sum(1)
  # A root has no slope at 0, where there is no image.
  deviation_BC = jnp.sqrt(variance_BC + _LEAST_VARIANCE)
  return jnp.concatenate([unit(mean_BC), unit(deviation_BC)], axis=-1)


def _by_cell(masked_BN, side: int):
  """Whether the place in which each of side x side cells has its middle is."""
  places = math.isqrt(masked_BN.shape[1])
  at = [int((cell + 0.5) * places / side) for cell in range(side)]
  masked_BHW = masked_BN.reshape(-1, places, places)
  return masked_BHW[:, at][:, :, at].reshape(-1, side * side)
