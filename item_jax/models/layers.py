"""The transformer's layers: states in, states out, padding left unseen."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.errors import UserError

# paper: not stated; ViT's. BERT's 1e-12 vanishes beside a float32 variance.
LAYER_NORM_EPSILON = 1e-6


def dense(features, *, std: float, dtype, name: str, axis=-1, out=None):
  """A linear layer with float32 parameters, computed in `dtype`.

  Args:
    out: the type of the sums; `dtype` too where it is not given.
  """
  product = None
  if out is not None:
    product = functools.partial(jax.lax.dot_general, preferred_element_type=out)
  return nn.DenseGeneral(
    features,
    axis=axis,
    dtype=dtype,
    kernel_init=nn.initializers.truncated_normal(std),
    dot_general=product,
    name=name,
  )


def layer_norm(*, name: str, epsilon: float = LAYER_NORM_EPSILON):
  """Normalises in float32 whatever comes in; the caller casts back."""
  return nn.LayerNorm(epsilon=epsilon, dtype=jnp.float32, name=name)


def _keeping_input_alone(function, slope):
  """`function` of one array, whose gradient is computed from its input.

  Reverse mode would keep what lies between as well: two more arrays for the
  exact GELU, of the widest that a block has.

  Args:
    slope: the derivative, taken in float32.
  """
  kept = jax.custom_vjp(function)

  def backward(x, given):
    slope_x = slope(x.astype(jnp.float32))
    return ((given.astype(jnp.float32) * slope_x).astype(x.dtype),)

  kept.defvjp(lambda x: (function(x), x), backward)
  return kept


def _gelu(x):
  return nn.gelu(x, approximate=False)


def _gelu_slope(x):
  """Phi(x) + x phi(x) of the normal distribution."""
  bell = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
  return 0.5 * (1 + jax.lax.erf(x / math.sqrt(2))) + x * bell


def _quick_gelu(x):
  return x * nn.sigmoid(1.702 * x)


def _quick_gelu_slope(x):
  s = nn.sigmoid(1.702 * x)
  return s + 1.702 * x * s * (1 - s)


gelu = _keeping_input_alone(_gelu, _gelu_slope)
# x sigmoid(1.702 x), with which the first CLIPs were trained.
quick_gelu = _keeping_input_alone(_quick_gelu, _quick_gelu_slope)


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

  The slope is finite everywhere: a vector shorter than 1e-6 is divided by
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
):
  """Softmax attention of every place to the first `lengths` places.

  Args:
    query_BSHd: [B,S,heads,depth]; key_BSHd and value_BSHd alike.
    lengths_B: int32, how many places of each row are real; at least one.
    implementation: "xla", or "cudnn" on an NVIDIA GPU with bfloat16. Both
      take the softmax in float32.
    causal: a place attends to itself and to those before it only.

  Returns:
    [B,S,heads,depth]. What stands at places past the length is arbitrary.
  """
  return jax.nn.dot_product_attention(
    query_BSHd,
    key_BSHd,
    value_BSHd,
    query_seq_lengths=jnp.full_like(lengths_B, query_BSHd.shape[1]),
    key_value_seq_lengths=lengths_B,
    is_causal=causal,
    implementation=implementation,
  )


class Attention(nn.Module):
  """Multi-head self-attention; no dropout on its weights.

  paper: not stated; ours, because neither attention kernel offers it and
  dropout on the branch's output is kept.
  """

  heads: int
  std: float
  dtype: Any
  implementation: str
  causal: bool = False

  @nn.compact
  def __call__(self, x_BSD, lengths_B):
    D = x_BSD.shape[-1]
    shape = (3, self.heads, D // self.heads)
    qkv = dense(shape, std=self.std, dtype=self.dtype, name="qkv")(x_BSD)
    mixed_BSHd = attend(
      qkv[:, :, 0],
      qkv[:, :, 1],
      qkv[:, :, 2],
      lengths_B,
      implementation=self.implementation,
      causal=self.causal,
    )
    return dense(D, std=self.std, dtype=self.dtype, axis=(-2, -1), name="out")(
      mixed_BSHd
    )


class Mlp(nn.Module):
  hidden: int
  std: float
  dtype: Any
  activation: str = "gelu"

  @nn.compact
  def __call__(self, x_BSD):
    h = dense(self.hidden, std=self.std, dtype=self.dtype, name="up")(x_BSD)
    return dense(x_BSD.shape[-1], std=self.std, dtype=self.dtype, name="down")(
      activation(self.activation)(h)
    )


class Block(nn.Module):
  """Attention, then an MLP, each with its residual and its norm."""

  heads: int
  mlp: int
  dropout: float
  norm: str  # "post" (BERT) or "pre" (ViT)
  std: float
  dtype: Any
  implementation: str
  epsilon: float = LAYER_NORM_EPSILON
  activation: str = "gelu"
  causal: bool = False

  @nn.compact
  def __call__(self, x_BSD, lengths_B, deterministic: bool):
    drop = nn.Dropout(self.dropout, deterministic=deterministic)
    attention = Attention(
      self.heads,
      self.std,
      self.dtype,
      self.implementation,
      self.causal,
      name="attention",
    )
    mlp = Mlp(self.mlp, self.std, self.dtype, self.activation, name="mlp")
    norm1 = layer_norm(name="norm1", epsilon=self.epsilon)
    norm2 = layer_norm(name="norm2", epsilon=self.epsilon)
    if self.norm == "pre":
      x_BSD = x_BSD + drop(attention(self._cast(norm1(x_BSD)), lengths_B))
      return x_BSD + drop(mlp(self._cast(norm2(x_BSD))))
    x_BSD = self._cast(norm1(x_BSD + drop(attention(x_BSD, lengths_B))))
    return self._cast(norm2(x_BSD + drop(mlp(x_BSD))))

  def _cast(self, x):
    return x.astype(self.dtype)


class Encoder(nn.Module):
  """`layers` blocks; with pre-norm a last norm."""

  layers: int
  heads: int
  mlp: int
  dropout: float
  norm: str
  std: float
  dtype: Any
  implementation: str
  remat: bool = False
  epsilon: float = LAYER_NORM_EPSILON
  activation: str = "gelu"
  causal: bool = False

  @nn.compact
  def __call__(self, x_BSD, lengths_B, *, deterministic: bool):
    block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
    for i in range(self.layers):
      x_BSD = block(
        self.heads,
        self.mlp,
        self.dropout,
        self.norm,
        self.std,
        self.dtype,
        self.implementation,
        self.epsilon,
        self.activation,
        self.causal,
        name=f"layer_{i}",
      )(x_BSD, lengths_B, deterministic)
    if self.norm == "pre":
      norm = layer_norm(name="norm", epsilon=self.epsilon)
      x_BSD = norm(x_BSD).astype(self.dtype)
    return x_BSD
