"""Builds transformer encoders whose padding is never attended to."""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.errors import UserError
from item_jax.models import attention
from item_jax.models.dropout import HASH, Dropout
from item_jax.models.linear import dense

# paper: not stated; ViT's. BERT's 1e-12 vanishes beside a float32 variance.
LAYER_NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Sizes of one encoder, as in `item_jax.config.Model`, and its kernel."""

  layers: int
  width: int
  heads: int
  mlp: int
  dropout: float = 0.0
  dropout_bits: str = HASH  # of `models.dropout`
  norm: str = "post"  # "post" (BERT) or "pre" (ViT)
  activation: str = "gelu"
  epsilon: float = LAYER_NORM_EPSILON
  init_std: float = 0.02
  dtype: Any = jnp.float32  # of the computation
  attention: str = "xla"  # or "cudnn", "pallas"
  remat: bool = False
  causal: bool = False
  # As far as it is known beforehand, and in what their gradients are added up:
  # "float32", or the type of the computation (models.linear).
  devices: int = 1
  fsdp: int = 1  # of them, along the mesh's second axis
  reduce_dtype: str = "float32"


def layer_norm(*, name: str, epsilon: float = LAYER_NORM_EPSILON):
  """Normalises in float32 whatever comes in; the caller casts back."""
  return nn.LayerNorm(epsilon=epsilon, dtype=jnp.float32, name=name)


def _keep_only_input(function, derivative):
  """Makes `function` compute its gradient from nothing but its input.

  Reverse mode would keep what lies between as well: two more arrays for the
  exact GELU, of the widest that a block has. Both are computed in float32 and
  rounded once: near -1 bfloat16 has hardly a digit left for a tail.

  Args:
    function: of one array.
    derivative: its derivative.
  """

  def in_float32(x):
    return function(x.astype(jnp.float32)).astype(x.dtype)

  kept = jax.custom_vjp(in_float32)

  def backward(x, cotangent):
    gradient = derivative(x.astype(jnp.float32))
    return ((cotangent.astype(jnp.float32) * gradient).astype(x.dtype),)

  kept.defvjp(lambda x: (in_float32(x), x), backward)
  return kept


def _cdf(x):
  """Phi of the normal distribution, by erf: CPUs take longer for erfc."""
  return 0.5 * (1 + jax.lax.erf(x / math.sqrt(2)))


def _gelu(x):
  return x * _cdf(x)


def _gelu_derivative(x):
  """Phi(x) + x phi(x) of the normal distribution."""
  pdf = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
  return _cdf(x) + x * pdf


def _quick_gelu(x):
  return x * nn.sigmoid(1.702 * x)


def _quick_gelu_derivative(x):
  s = nn.sigmoid(1.702 * x)
  return s + 1.702 * x * s * (1 - s)


gelu = _keep_only_input(_gelu, _gelu_derivative)
# x sigmoid(1.702 x), with which the first CLIPs were trained.
quick_gelu = _keep_only_input(_quick_gelu, _quick_gelu_derivative)


ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


def activation(name: str):
  """The function of that name, or UserError."""
  if name not in ACTIVATIONS:
    raise UserError(
      f"activation={name!r}: known are {', '.join(sorted(ACTIVATIONS))}"
    )
  return ACTIVATIONS[name]


def unit(x):
  """Vectors (last axis) of length one in float32; zeros stay zeros.

  The gradient is finite everywhere: a vector shorter than 1e-6 is divided by
  1e-6 instead of its length.
  """
  x = x.astype(jnp.float32)
  square = (x * x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def attend(
  query_BSHd,
  key_BSHd,
  value_BSHd,
  lengths_B,
  *,
  implementation,
  causal=False,
  mesh=(1, 1),
):
  """Softmax attention of every position to the first `lengths` positions.

  Args:
    query_BSHd: [B,S,heads,depth]; key_BSHd and value_BSHd alike.
    lengths_B: int32, how many positions of each row are real; at least one.
    implementation: "xla", or "cudnn" on an NVIDIA GPU with bfloat16, or
      "pallas" on a TPU. All take the softmax in float32.
    causal: a position attends to itself and to those before it only.
    mesh: (data, fsdp), the devices that share the rows, where they are known
      beforehand; only "pallas" asks.

  Returns:
    [B,S,heads,depth]. What stands at positions past the length is arbitrary.
  """
  B, S = query_BSHd.shape[:2]
  if implementation == "pallas":
    if B % math.prod(mesh) == 0:
      from item_jax.models import splash  # Pallas takes its time to import

      qkv = (query_BSHd, key_BSHd, value_BSHd)
      return splash.attend(*qkv, lengths_B, causal=causal, mesh=mesh)
    implementation = "xla"  # one row, of which parameters are made
  padded = S % 2 == 1 and implementation == "cudnn"
  qkv = (query_BSHd, key_BSHd, value_BSHd)
  if padded:
    # jax refuses cuDNN's gradient at odd lengths. One position is enough: the
    # kernel works in tiles of 64 or more and masks what is past the lengths,
    # so that a multiple of 8 would take longer copies for the same products.
    # XLA lays out its own tiles, on TPU too, and needs none.
    qkv = tuple(jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in qkv)

  def of_jax(*qkv):
    return jax.nn.dot_product_attention(
      *qkv,
      query_seq_lengths=jnp.full_like(lengths_B, S),
      key_value_seq_lengths=lengths_B,
      is_causal=causal,
      implementation=implementation,
    )

  if implementation == "xla":
    own = functools.partial(
      attention.attend, lengths_B=lengths_B, causal=causal
    )
    return jax.lax.platform_dependent(
      *qkv,
      cpu=own,
      tpu=functools.partial(own, own_gradient=True),
      default=of_jax,
    )
  mixed_BSHd = of_jax(*qkv)
  return mixed_BSHd[:, :S] if padded else mixed_BSHd


class Attention(nn.Module):
  """Multi-head self-attention; no dropout on its weights.

  paper: not stated; ours, because no fused attention kernel offers it and
  dropout on the branch's output is kept.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(self, x_BSD, lengths_B):
    c = self.config
    sizes = (3, c.heads, c.width // c.heads)
    qkv = dense(c, sizes, name="qkv", split=True)(x_BSD)
    query_BSHd, key_BSHd, value_BSHd = qkv
    mixed_BSHd = attend(
      query_BSHd,
      key_BSHd,
      value_BSHd,
      lengths_B,
      implementation=c.attention,
      causal=c.causal,
      mesh=(c.devices // c.fsdp, c.fsdp),
    )
    return dense(c, c.width, axis=(-2, -1), name="out")(mixed_BSHd)


class Mlp(nn.Module):
  """Two linear layers with the nonlinearity between them."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, x_BSD):
    c = self.config
    h = dense(c, c.mlp, name="up")(x_BSD)
    return dense(c, c.width, name="down")(activation(c.activation)(h))


class Block(nn.Module):
  """Attention, then an MLP, each with its residual and its norm."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, x_BSD, lengths_B, deterministic: bool):
    c = self.config
    drop = functools.partial(
      Dropout(c.dropout, c.dropout_bits), deterministic=deterministic
    )
    attention = Attention(c, name="attention")
    mlp = Mlp(c, name="mlp")
    norm1 = layer_norm(name="norm1", epsilon=c.epsilon)
    norm2 = layer_norm(name="norm2", epsilon=c.epsilon)
    if c.norm == "pre":
      x_BSD = x_BSD + drop(attention(norm1(x_BSD).astype(c.dtype), lengths_B))
      return x_BSD + drop(mlp(norm2(x_BSD).astype(c.dtype)))
    x_BSD = norm1(x_BSD + drop(attention(x_BSD, lengths_B))).astype(c.dtype)
    return norm2(x_BSD + drop(mlp(x_BSD))).astype(c.dtype)


class Encoder(nn.Module):
  """`config.layers` blocks; with pre-norm a last norm."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, x_BSD, lengths_B, *, deterministic: bool):
    c = self.config
    block = nn.remat(Block, static_argnums=(3,)) if c.remat else Block
    for i in range(c.layers):
      x_BSD = block(c, name=f"layer_{i}")(x_BSD, lengths_B, deterministic)
    if c.norm == "pre":
      x_BSD = layer_norm(name="norm", epsilon=c.epsilon)(x_BSD).astype(c.dtype)
    return x_BSD
