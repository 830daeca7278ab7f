"""Vectors of the image and of the title that pass the transformer by.

paper: not stated; ours, because a frozen network's features and counts of words
find more products than [CLS] does after minutes of training, and because [CLS]
is asked for what image and title have in common, and not for what tells them
apart from others. The embedding is [CLS], image side and title side, each of
unit length and weighted, so that a cosine is a weighted sum of three.

The sides begin as what needs no training: the image's features, whitened on the
training split, and its words, weighted by how rare they are, in random
directions (Johnson and Lindenstrauss 1984). Training moves them from there.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from item_jax.models import patches
from item_jax.models.layers import unit

_SIDE = 8  # of the thumbnail that stands for an image without a stem
COLOURS = _SIDE * _SIDE * 3


class Sides(nn.Module):
  """Fields:

  width: of each side. channels: C, of an image's features. vocab_size: rows of
  the token table. cls_share: of [CLS] in a cosine, before training.
  """

  width: int
  channels: int
  vocab_size: int
  cls_share: float

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
    side = (1 - self.cls_share) / 2
    shares = np.log([self.cls_share, side, side]).astype(np.float32)
    shares_3 = self.param("shares", lambda _: jnp.array(shares))

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


def colours(image_BHWC):
  """A thumbnail of uint8 images, float32 [B, COLOURS] in [-1, 1]."""
  shape = (len(image_BHWC), _SIDE, _SIDE, 3)
  pixels = patches.normalise(image_BHWC)
  return jax.image.resize(pixels, shape, "linear").reshape(shape[0], -1)
