"""What reads the encoder's outputs: states in, predictions out."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from item_jax.errors import UserError
from item_jax.models import layers
from item_jax.models.layers import LAYER_NORM_EPSILON


class Transform(nn.Module):
  """Linear, GELU, LayerNorm: BERT's transform before a decoder."""

  width: int
  std: float
  dtype: Any
  epsilon: float = LAYER_NORM_EPSILON

  @nn.compact
  def __call__(self, x):
    h = layers.dense(self.width, std=self.std, dtype=self.dtype, name="dense")(
      x
    )
    norm = layers.layer_norm(name="norm", epsilon=self.epsilon)
    return norm(layers.gelu(h)).astype(self.dtype)


class GlobalTransform(nn.Module):
  """F([g; p]): what [CLS] knows about a place, from its position alone.

  Two rounds of Linear, GELU, LayerNorm. `join` says on what:
    "concat": [g; p]. The first layer is split into a part for g, computed once
      a pair, and a part for p, computed once a place:
      Wa [g; p] = Wh g + Wp p.
    "sum": g + p, so that Wh and Wp are one matrix.
  """

  width: int
  std: float
  dtype: Any
  epsilon: float = LAYER_NORM_EPSILON
  join: str = "concat"

  @nn.compact
  def __call__(self, g_BD, p_BKD):
    if self.join not in ("concat", "sum"):
      raise UserError(f"global_head={self.join!r}: known are concat, sum")
    if self.join == "concat":
      of_g_BD = self._dense("of_global")(g_BD)
      # The other half carries the one bias.
      of_p_BKD = self._dense("of_place", use_bias=False)(p_BKD)
      h = of_g_BD[:, None] + of_p_BKD
    else:
      h = self._dense("of_sum")(g_BD[:, None] + p_BKD)
    norm = layers.layer_norm(name="norm", epsilon=self.epsilon)
    h = norm(layers.gelu(h)).astype(self.dtype)
    return Transform(
      self.width, self.std, self.dtype, self.epsilon, name="second"
    )(h)

  def _dense(self, name: str, *, use_bias: bool = True):
    return nn.Dense(
      self.width,
      use_bias=use_bias,
      dtype=self.dtype,
      kernel_init=nn.initializers.truncated_normal(self.std),
      name=name,
    )


class WordDecoder(nn.Module):
  """Logits over the words: the word table, tied, and a bias of its own."""

  words: int
  dtype: Any

  @nn.compact
  def __call__(self, h_BKD, table_VD):
    bias_V = self.param("bias", nn.initializers.zeros, (self.words,))
    logits_BKV = jnp.einsum(
      "bkd,vd->bkv",
      h_BKD,
      table_VD.astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
    return logits_BKV + bias_V


class PixelDecoder(nn.Module):
  """A patch's pixels, in float32."""

  pixels: int
  std: float
  dtype: Any

  @nn.compact
  def __call__(self, h_BKD):
    out = layers.dense(
      self.pixels, std=self.std, dtype=self.dtype, name="dense"
    )(h_BKD)
    return out.astype(jnp.float32)


class MatchHead(nn.Module):
  """BERT's tanh pooler, then two logits: does the title belong?"""

  width: int
  std: float
  dtype: Any

  @nn.compact
  def __call__(self, g_BD):
    h = layers.dense(self.width, std=self.std, dtype=self.dtype, name="pooler")(
      g_BD
    )
    out = layers.dense(2, std=self.std, dtype=self.dtype, name="dense")(
      jnp.tanh(h)
    )
    return out.astype(jnp.float32)
