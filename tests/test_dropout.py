"""Tests dropout and the bits that it draws."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from item_jax.config import Model
from item_jax.models import dropout

SHAPE = (64, 32, 48)
WORD = 2**32
GENERATORS = Model.__dataclass_fields__["dropout_bits"].metadata["choices"]


def test_numbers_are_mixed_as_murmurhash3_ends():
  # Its published values of the empty text, whose seed is mixed alone.
  given = jnp.array([0, 1, 0xFFFFFFFF], jnp.uint32)
  assert dropout.mix(given).tolist() == [0, 0x514E28B7, 0x81F16F39]


def test_bits_are_of_key_row_and_place():
  def mix(x):
    x = (x ^ (x >> 16)) * 0x85EBCA6B % WORD
    x = (x ^ (x >> 13)) * 0xC2B2AE35 % WORD
    return x ^ (x >> 16)

  key = jax.random.key(5)
  first, second = jax.random.key_data(key).tolist()
  found = np.asarray(dropout.hash_bits(key, SHAPE))
  for row, i, j in ((0, 0, 0), (0, 0, 1), (3, 5, 7), (63, 31, 47)):
    place = mix((i * 48 + j) ^ first)
    want = mix(place ^ ((row * 0x9E3779B9 + second) % WORD))
    assert found[row, i, j] == want


@pytest.mark.parametrize("bits", GENERATORS)
def test_a_share_is_dropped_and_the_rest_is_scaled_up(bits):
  key = dropout.make_root(0, bits)
  layer = dropout.Dropout(0.25, bits)
  x = jax.random.normal(jax.random.key(1), SHAPE)
  out = layer.apply({}, x, deterministic=False, rngs={"dropout": key})
  dropped = out == 0
  np.testing.assert_array_equal(out, np.where(dropped, 0, x / 0.75))
  # Six standard deviations.
  near = 6 * (0.25 * 0.75 / dropped.size) ** 0.5
  assert dropped.mean() == pytest.approx(0.25, abs=near)
  same = layer.apply({}, x, deterministic=True)
  np.testing.assert_array_equal(same, x)


def test_what_is_dropped_is_unrelated_to_neighbours_and_to_other_keys():
  def mask(key):
    return np.asarray(dropout.hash_bits(key, SHAPE) < WORD // 10, float)

  root = jax.random.key(0)
  one = mask(root)
  others = [np.roll(one, by, axis) for axis in range(3) for by in (1, 2, 16)]
  others += [mask(jax.random.fold_in(root, step)) for step in range(5)]
  # A key whose words differ from the first one's by one bit.
  first, second = jax.random.key_data(root)
  others += [
    mask(jax.random.wrap_key_data(jnp.stack([first ^ 1, second]))),
    mask(jax.random.wrap_key_data(jnp.stack([first, second ^ 1]))),
  ]
  for other in others:
    found = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert abs(found) < 6 / one.size**0.5


@pytest.mark.parametrize("bits", ["threefry2x32", "rbg"])
def test_of_jaxs_generators_the_bits_are_those_of_flax(bits):
  """So that runs that drew them go on as they began."""
  key, x = dropout.make_root(3, bits), jnp.ones(SHAPE, jnp.bfloat16)
  ours = dropout.Dropout(0.1, bits).apply(
    {}, x, deterministic=False, rngs={"dropout": key}
  )
  flaxs = nn.Dropout(0.1).apply(
    {}, x, deterministic=False, rngs={"dropout": key}
  )
  assert ours.dtype == jnp.bfloat16
  np.testing.assert_array_equal(ours, flaxs)
