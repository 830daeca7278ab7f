"""Drops numbers at random, by bits that cost next to nothing.

Threefry computes some hundred operations for each number: a tenth to a sixth of
a step of `item_base` by the estimate of TPUs' compiler (docs/accelerators.md).
Dropout asks for less: that what is dropped looks unrelated to place, row, layer
and step.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

HASH = "hash"


class Dropout(nn.Module):
  """Sets a share of the numbers to zero and scales up the others.

  As flax's, whose bits it draws with "threefry2x32" and "rbg". Those of "hash"
  are a function of the key, the row (first axis) and the place in the row.

  rate: the share. bits: as `config.Model.dropout_bits`; with "rbg" the key is
    one, too.
  """

  rate: float
  bits: str = HASH

  @nn.compact
  def __call__(self, x, *, deterministic: bool):
    if self.rate == 0 or deterministic:
      return x
    keep = 1 - self.rate
    key = self.make_rng("dropout")
    if self.bits == HASH:
      kept = hash_bits(key, x.shape) < jnp.uint32(round(keep * 2**32))
    else:
      kept = jax.random.bernoulli(key, keep, x.shape)
    return jnp.where(kept, x / keep, jnp.zeros_like(x))


def make_root(seed: int, bits: str) -> jax.Array:
  """The key that dropout's are derived from; of "hash" threefry's."""
  return jax.random.key(seed, impl="threefry2x32" if bits == HASH else bits)


def hash_bits(key: jax.Array, shape: tuple[int, ...]):
  """Bits of a key of threefry, uint32 of this shape.

  Two rounds, one of the place in the row and one of the row, each with a word
  of the key, so that neither overflows and no two keys give shifted bits.
  """
  first, second = jax.random.key_data(key)
  place = jnp.zeros(shape, jnp.uint32)
  stride = 1
  for axis in reversed(range(1, len(shape))):
    here = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    place += here * jnp.uint32(stride)
    stride *= shape[axis]
  row = jax.lax.broadcasted_iota(jnp.uint32, shape, 0)
  return mix(mix(place ^ first) ^ (row * jnp.uint32(0x9E3779B9) + second))


def mix(x):
  """The last step of MurmurHash3 (A. Appleby): each bit changes about half."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
