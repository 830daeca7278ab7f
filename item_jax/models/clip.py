"""Two towers: a photo in, a vector out; a title in, a vector out.

Radford et al. 2021: a ViT that is normalised before its blocks, a causal
transformer read at the title's end, a projection of each into one space.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from item_jax.models import layers, patches
from item_jax.models.layers import LAYER_NORM_EPSILON

# Radford et al. 2021, 2.5: the temperature starts at 0.07.
FIRST_LOG_SCALE = math.log(1 / 0.07)


class Clip(nn.Module):
  """Fields as in `item_jax.config`; those without `text_` are the photo's.

  words: rows of the word table. pad, cls, sep: ids of the padding (which may
  be the same as sep), of the word before every title and of the one after it.
  projection: length of both vectors.
  """

  vocab_size: int
  pad: int
  cls: int
  sep: int
  image_size: int
  patch: int
  max_title_tokens: int
  layers: int
  width: int
  heads: int
  mlp: int
  text_layers: int
  text_width: int
  text_heads: int
  text_mlp: int
  projection: int
  dropout: float
  init_std: float
  dtype: Any
  attention: str
  remat: bool = False
  epsilon: float = LAYER_NORM_EPSILON
  activation: str = "gelu"
  causal: bool = True  # of the title's tower

  @property
  def num_patches(self) -> int:
    return (self.image_size // self.patch) ** 2

  def setup(self):
    self.image_tower = ImageTower(
      self.num_patches,
      self.patch,
      self.width,
      self._encoder(self.layers, self.heads, self.mlp, causal=False),
      self.init_std,
      self.dtype,
      self.epsilon,
    )
    self.title_tower = TitleTower(
      self.vocab_size,
      self.pad,
      self.cls,
      self.sep,
      self.max_title_tokens,
      self.text_width,
      self._encoder(
        self.text_layers, self.text_heads, self.text_mlp, causal=self.causal
      ),
      self.init_std,
      self.dtype,
    )
    self.image_projection = self._project()
    self.title_projection = self._project()
    self.log_scale = self.param(
      "log_scale", nn.initializers.constant(FIRST_LOG_SCALE), ()
    )

  def _encoder(self, depth, heads, mlp, *, causal):
    return layers.Encoder(
      depth,
      heads,
      mlp,
      self.dropout,
      "pre",
      self.init_std,
      self.dtype,
      self.attention,
      self.remat,
      self.epsilon,
      self.activation,
      causal,
      parent=None,  # it belongs to the tower it is handed to
    )

  def _project(self):
    return nn.Dense(
      self.projection,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=nn.initializers.truncated_normal(self.init_std),
    )

  def __call__(self, batch):
    """Touches every parameter; for initialisation and parameter tables."""
    return self.image(batch), self.title(batch), self.log_scale

  def image(self, batch, *, deterministic: bool = True):
    """Photos' vectors, float32 [B,P], not of unit length.

    A row without a photo gets the vector of a class token that sees nothing,
    whatever its pixels are.
    """
    state_BD = self.image_tower(batch, deterministic=deterministic)
    return self.image_projection(state_BD).astype(jnp.float32)

  def title(self, batch, *, deterministic: bool = True):
    """Titles' vectors, float32 [B,P], not of unit length.

    A row without a title gets the vector of a lone [CLS], whatever its words
    are.
    """
    state_BD = self.title_tower(batch, deterministic=deterministic)
    return self.title_projection(state_BD).astype(jnp.float32)

  def embed(self, batch, share=0.5, *, deterministic: bool = True):
    """Both vectors, late-fused, float32 [B, 2 P]; see `late_fusion`."""
    return late_fusion(
      self.image(batch, deterministic=deterministic),
      self.title(batch, deterministic=deterministic),
      batch.has_image_B,
      batch.has_title_B,
      share,
    )


def late_fusion(image_BP, title_BP, has_image_B, has_title_B, share=0.5):
  """[sqrt(a) u; sqrt(1-a) v] of unit vectors u and v, float32 [B, 2 P].

  The product of two such vectors is a cos_image + (1-a) cos_title.

  Args:
    image_BP, title_BP: of any length but zero.
    has_image_B, has_title_B: a missing side is a half of zeros; where both
      are missing both halves are kept, so that no vector is zero.
    share: a, between 0 and 1.
  """
  neither_B = ~(has_image_B | has_title_B)
  image_BP = jnp.where(
    (has_image_B | neither_B)[:, None], layers.unit(image_BP), 0.0
  )
  title_BP = jnp.where(
    (has_title_B | neither_B)[:, None], layers.unit(title_BP), 0.0
  )
  return jnp.concatenate(
    [jnp.sqrt(share) * image_BP, jnp.sqrt(1.0 - share) * title_BP], axis=-1
  )


class ImageTower(nn.Module):
  """[CLS] and patches in, the last state of [CLS] out."""

  num_patches: int
  patch: int
  width: int
  encoder: layers.Encoder
  std: float
  dtype: Any
  epsilon: float

  @nn.compact
  def __call__(self, batch, *, deterministic: bool):
    normal = nn.initializers.truncated_normal(self.std)
    N, D = self.num_patches, self.width
    cls_D = self.param("cls", normal, (D,))
    position_SD = self.param("position", normal, (1 + N, D))
    patches_BNP = patches.to_patches(
      patches.normalise(batch.image_BHWC), self.patch
    )
    patches_BND = layers.dense(
      D, std=self.std, dtype=self.dtype, name="project"
    )(patches_BNP.astype(self.dtype))
    cls_B1D = jnp.broadcast_to(
      cls_D.astype(self.dtype), (len(patches_BND), 1, D)
    )
    x_BSD = jnp.concatenate([cls_B1D, patches_BND], axis=1) + position_SD
    norm = layers.layer_norm(name="embed_norm", epsilon=self.epsilon)
    lengths_B = 1 + jnp.where(batch.has_image_B, N, 0)
    x_BSD = self.encoder(
      norm(x_BSD).astype(self.dtype),
      lengths_B.astype(jnp.int32),
      deterministic=deterministic,
    )
    return x_BSD[:, 0]


class TitleTower(nn.Module):
  """[CLS] and a title in, the last state of its [SEP] out."""

  vocab_size: int
  pad: int
  cls: int
  sep: int
  max_title_tokens: int
  width: int
  encoder: layers.Encoder
  std: float
  dtype: Any

  @nn.compact
  def __call__(self, batch, *, deterministic: bool):
    normal = nn.initializers.truncated_normal(self.std)
    token_VD = self.param("word", normal, (self.vocab_size, self.width))
    position_SD = self.param(
      "position", normal, (1 + self.max_title_tokens, self.width)
    )
    tokens_BS = jnp.pad(
      batch.tokens_BT, ((0, 0), (1, 0)), constant_values=self.cls
    )
    x_BSD = (token_VD[tokens_BS] + position_SD).astype(self.dtype)
    # The first of either, as CLIP's own tokenizer pads with its end word.
    ends_BT = (batch.tokens_BT == self.sep) | (batch.tokens_BT == self.pad)
    end_B = jnp.where(batch.has_title_B, 1 + ends_BT.argmax(-1), 0)
    x_BSD = self.encoder(
      x_BSD, (1 + end_B).astype(jnp.int32), deterministic=deterministic
    )
    return jnp.take_along_axis(x_BSD, end_B[:, None, None], axis=1)[:, 0]
