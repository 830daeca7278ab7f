"""Vectors of the image and of the title that pass the transformer by.

paper: not stated; ours, because a frozen network's features and counts of words
find more products than [CLS] does after days of training, and because [CLS] is
asked for what image and title have in common, and not for what tells them
apart from others. The embedding is [CLS], image side and title side, each of
unit length and weighted, so that a cosine is a weighted sum of three.

The sides begin as what needs no training: the image's features, whitened on the
training split, and its words, weighted by how rare they are, in random
directions (Johnson and Lindenstrauss 1984). Training moves them from there.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from item_jax.models import patches
from item_jax.models.base import SIDES, Vocabulary
from item_jax.models.layers import unit

# Of [CLS], image side and title side in a cosine, before training.
SHARES = (0.1, 0.45, 0.45)
# Added to the variances that whitening divides by, as a part of their mean:
# what varies hardly at all is noise.
_RIDGE = 1.0
_NEVER = -30.0  # softplus is 0: a token that says nothing
_SAMPLE = 2_048  # images that whitening is learnt from
_SIDE = 8  # of the thumbnail that stands for an image without a stem
COLOURS = _SIDE * _SIDE * 3


class Sides(nn.Module):
  """Fields:

  width: of each side. channels: C, of an image's features. vocab_size: rows of
  the token table.
  """

  width: int
  channels: int
  vocab_size: int

  @nn.compact
  def __call__(self, g_BD, image_BC, tokens_BT, real_BT):
    """The embedding [B, D + 2 width], float32.

    Args:
      g_BD: states at [CLS].
      image_BC: features of the image; zeros where there is none.
      real_BT: bool, whether a token is there.
    """
    W = self.width
    mean_C = self.param("image_mean", nn.initializers.zeros, (self.channels,))
    image_CW = self.param(
      "image_kernel", nn.initializers.normal(1.0), (self.channels, W)
    )
    word_VW = self.param(
      "word", nn.initializers.normal(W**-0.5), (self.vocab_size, W)
    )
    rarity_V = self.param("rarity", nn.initializers.zeros, (self.vocab_size,))
    shares_3 = self.param("shares", _shares, (3,))

    has_B1 = (image_BC != 0).any(-1, keepdims=True)
    centred_BC = unit(image_BC) - jax.lax.stop_gradient(mean_C)
    image_BW = jnp.where(has_B1, unit(centred_BC @ image_CW), 0.0)
    weight_BT = jnp.where(real_BT, jax.nn.softplus(rarity_V[tokens_BT]), 0.0)
    title_BW = unit(jnp.einsum("bt,btw->bw", weight_BT, word_VW[tokens_BT]))
    weight_3 = jnp.sqrt(jax.nn.softmax(shares_3))
    return jnp.concatenate(
      [
        weight_3[0] * unit(g_BD),
        weight_3[1] * image_BW,
        weight_3[2] * title_BW,
      ],
      axis=-1,
    )


def _shares(key, shape):
  del key
  return jnp.log(jnp.array(SHARES)).reshape(shape)


def colours(image_BHWC):
  """A thumbnail of uint8 images, float32 [B, COLOURS] in [-1, 1]."""
  shape = (len(image_BHWC), _SIDE, _SIDE, 3)
  pixels = patches.normalise(image_BHWC)
  return jax.image.resize(pixels, shape, "linear").reshape(shape[0], -1)


def make_fit(module, vocabulary: Vocabulary) -> Callable:
  """`Network.fit` of a module with the method `image_features`."""

  @jax.jit
  def features(params, batch):
    return module.apply({"params": params}, batch, method="image_features")

  def fit_params(params, read, tokens_NT):
    found = [np.asarray(features(params, batch)) for batch in read(_SAMPLE)]
    made = fit(
      params[SIDES],
      np.concatenate(found),
      tokens_NT,
      special=vocabulary.special,
    )
    return {**params, SIDES: made}

  return fit_params


def fit(params, image_NC, tokens_NT, *, special: tuple[int, ...]):
  """Makes the sides' first parameters of a sample of the training split.

  Args:
    params: of `Sides`.
    image_NC: features of images, as `Sides` is given them; zeros of none.
    tokens_NT: int, of titles.
    special: ids of tokens that are no words, the padding among them.
  """
  mean_C, image_CW = whitening(image_NC, params["image_kernel"].shape[1])
  size = len(params["rarity"])
  count_V = np.zeros(size)
  for tokens_T in np.asarray(tokens_NT):
    count_V[np.unique(tokens_T)] += 1
  # As TF-IDF has it; its softplus is the weight.
  idf_V = np.log((1 + len(tokens_NT)) / (1 + count_V)) + 1
  rarity_V = np.log(np.expm1(idf_V))
  rarity_V[list(special)] = _NEVER
  given = {"image_mean": mean_C, "image_kernel": image_CW, "rarity": rarity_V}
  return params | {
    name: np.asarray(value, np.float32) for name, value in given.items()
  }


def whitening(image_NC, width: int) -> tuple[np.ndarray, np.ndarray]:
  """The mean of unit rows, and a kernel [C, width] that whitens them.

  Where there are fewer principal directions than `width` the rest is 0.
  """
  rows_NC = np.asarray(image_NC, np.float64)
  length_N1 = np.linalg.norm(rows_NC, axis=1, keepdims=True)
  rows_NC = rows_NC[length_N1[:, 0] > 0] / length_N1[length_N1[:, 0] > 0]
  C = rows_NC.shape[1]
  kernel_CW = np.zeros((C, width))
  if not len(rows_NC):
    return np.zeros(C), kernel_CW
  mean_C = rows_NC.mean(axis=0)
  rows_NC -= mean_C
  variance_C, directions_CC = np.linalg.eigh(rows_NC.T @ rows_NC / len(rows_NC))
  total = variance_C.clip(0).sum()
  variance_C = variance_C[::-1].clip(0)[:width]
  if total > 0:
    scale_W = (variance_C + _RIDGE * total / C) ** -0.5 / math.sqrt(C)
    kernel_CW[:, : len(scale_W)] = directions_CC[:, ::-1][:, :width] * scale_W
  return mean_C, kernel_CW
