"""Attention by jax's kernel for TPUs is XLA's, interpreted on a CPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from item_jax.models import layers, splash
from item_jax.training import sharding


@pytest.fixture
def interpreted(monkeypatch):
  make = splash.kernel.make_splash_mha_single_device
  monkeypatch.setattr(
    splash.kernel,
    "make_splash_mha_single_device",
    functools.partial(make, interpret=True),
  )


def trained(implementation, *arrays, **options):
  """What attention gives, and its gradients to queries, keys and values."""

  @jax.jit
  def both(lengths_B, cotangent_BSHd, *qkv):
    def mixed(query, key, value):
      return layers.attend(
        *(query, key, value, lengths_B),
        implementation=implementation,
        **options,
      )

    out, back = jax.vjp(mixed, *qkv)
    return out, *back(cotangent_BSHd)

  return both(*arrays)


def example(length: int, lengths: list[int]):
  keys = jax.random.split(jax.random.key(0), 4)
  shape = (len(lengths), length, 2, 64)
  return jnp.array(lengths), *(jax.random.normal(k, shape) for k in keys)


@pytest.mark.parametrize(
  ("length", "causal", "mesh"),
  [(60, False, (1, 1)), (197, True, (1, 1)), (256, False, (2, 2))],
)
def test_pallas_attends_as_xla_does(interpreted, length, causal, mesh):
  """At lengths that are padded and one that is not; shared by devices too."""
  arrays = example(length, [length, length // 2, 4, 1])
  over = sharding.over_batch(
    sharding.make_mesh(*mesh, devices=jax.devices()[: mesh[0] * mesh[1]])
  )
  got = trained(
    "pallas", *jax.device_put(arrays, over), causal=causal, mesh=mesh
  )
  want = trained("xla", *arrays, causal=causal)
  for ours, xlas in zip(got, want, strict=True):
    np.testing.assert_allclose(ours, xlas, rtol=1e-5, atol=1e-5)
    assert ours.sharding.is_equivalent_to(over, 4)


def test_rows_without_a_real_position_are_finite(interpreted):
  """Beside which the others are as they are alone."""
  lengths_B, *arrays = example(60, [60, 60])
  got = trained("pallas", lengths_B.at[1].set(0), *arrays)
  want = trained("pallas", lengths_B, *arrays)
  for ours, full in zip(got, want, strict=True):
    assert np.isfinite(ours).all()
    np.testing.assert_array_equal(ours[0], full[0])


def test_each_device_attends_to_its_own_rows_alone():
  """In the program for TPUs, lowered without one."""
  mesh = sharding.make_mesh(2, 2)
  rows = sharding.over_batch(mesh)
  shape = jax.ShapeDtypeStruct((8, 60, 2, 64), jnp.bfloat16, sharding=rows)
  lengths_B = jax.ShapeDtypeStruct((8,), jnp.int32, sharding=rows)

  def lower(**options):
    attend = functools.partial(
      layers.attend, implementation="pallas", **options
    )
    traced = jax.jit(attend).trace(shape, shape, shape, lengths_B)
    return traced.lower(lowering_platforms=("tpu",)).as_text()

  (call,) = [x for x in lower(mesh=(2, 2)).splitlines() if "tpu_custom" in x]
  assert "tensor<2x2x128x64xbf16>" in call  # of 8 rows two
  with pytest.raises(NotImplementedError, match="automatically partitioned"):
    lower()
