"""Predicts tokens, pixels and matches from an encoder's states."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from item_jax.errors import UserError
from item_jax.models import layers
from item_jax.models.layers import TransformerConfig
from item_jax.models.linear import dense


class Transform(nn.Module):
  """Linear, GELU, LayerNorm: BERT's transform before a decoder."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, x):
    c = self.config
    h = dense(c, c.width, name="dense")(x)
    norm = layers.layer_norm(name="norm", epsilon=c.epsilon)
    return norm(layers.gelu(h)).astype(c.dtype)


class GlobalTransform(nn.Module):
  """F([g; p]): what [CLS] knows about a position, from its vector p alone.

  Two rounds of Linear, GELU, LayerNorm. `join` states on what:
    "concat": [g; p]. The first layer is split into a part for g, computed once
      a pair, and a part for p, computed once a position:
      Wa [g; p] = Wh g + Wp p.
    "sum": g + p, so that Wh and Wp are one matrix.
  """

  config: TransformerConfig
  join: str = "concat"

  @nn.compact
  def __call__(self, g_BD, p_BKD):
    c = self.config
    if self.join not in ("concat", "sum"):
      raise UserError(f"global_head={self.join!r}: known are concat, sum")
    if self.join == "concat":
      of_g_BD = self._dense("of_global")(g_BD)
      # The other half carries the one bias.
      of_p_BKD = self._dense("of_place", use_bias=False)(p_BKD)
      h = of_g_BD[:, None] + of_p_BKD
    else:
      h = self._dense("of_sum")(g_BD[:, None] + p_BKD)
    norm = layers.layer_norm(name="norm", epsilon=c.epsilon)
    h = norm(layers.gelu(h)).astype(c.dtype)
    return Transform(c, name="second")(h)

  def _dense(self, name: str, *, use_bias: bool = True):
    return dense(self.config, self.config.width, name=name, use_bias=use_bias)


class TokenDecoder(nn.Module):
  """Logits over the vocabulary: the token table, tied, and a bias of its own.

  Computed in the type of what comes in, summed in float32.
  """

  vocab_size: int

  @nn.compact
  def __call__(self, h_BKD, table_VD):
    bias_V = self.param("bias", nn.initializers.zeros, (self.vocab_size,))
    return _against_all(h_BKD, table_VD) + bias_V


@jax.custom_vjp
def _against_all(h_BKD, table_VD):
  """h times each row of the table, float32 [B,K,V].

  Left to itself the gradient of float32 sums would make both of the backward
  products, the step's largest of a single matrix, products of float32.
  """
  return _with_table("bkd,vd->bkv", h_BKD, table_VD)


def _against_all_backward(kept, cotangent_BKV):
  h_BKD, table_VD = kept
  cotangent_BKV = cotangent_BKV.astype(h_BKD.dtype)
  of_table_VD = jnp.einsum(
    "bkv,bkd->vd", cotangent_BKV, h_BKD, preferred_element_type=jnp.float32
  )
  return (
    _with_table("bkv,vd->bkd", cotangent_BKV, table_VD).astype(h_BKD.dtype),
    of_table_VD.astype(table_VD.dtype),
  )


_against_all.defvjp(
  lambda h_BKD, table_VD: (_against_all(h_BKD, table_VD), (h_BKD, table_VD)),
  _against_all_backward,
)


def _with_table(how: str, x, table_VD):
  """A product in x's type with the float32 table, summed in float32."""

  def cast(x, table_VD):
    table_VD = table_VD.astype(x.dtype)
    return jnp.einsum(how, x, table_VD, preferred_element_type=jnp.float32)

  def as_it_is(x, table_VD):
    # A TPU multiplies float32 as bfloat16 at this precision, and casts the
    # table while it multiplies: no pass over the whole table.
    default = jax.lax.Precision.DEFAULT
    return jnp.einsum(how, x.astype(jnp.float32), table_VD, precision=default)

  return jax.lax.platform_dependent(x, table_VD, tpu=as_it_is, default=cast)


class PixelDecoder(nn.Module):
  """A patch's pixels, in float32."""

  config: TransformerConfig
  pixels: int

  @nn.compact
  def __call__(self, h_BKD):
    c = self.config
    return dense(c, self.pixels, out=jnp.float32, name="dense")(h_BKD)


class MatchHead(nn.Module):
  """BERT's tanh pooler, then two logits: does the title belong?"""

  config: TransformerConfig

  @nn.compact
  def __call__(self, g_BD):
    c = self.config
    h = dense(c, c.width, name="pooler")(g_BD)
    return dense(c, 2, out=jnp.float32, name="dense")(jnp.tanh(h))
