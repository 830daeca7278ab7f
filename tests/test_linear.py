"""What linear layers and tables give many devices to add up."""

import dataclasses
import operator
import re

import jax
import jax.numpy as jnp
import jaxprs
import numpy as np
import pytest

from item_jax.config import Config, on_devices
from item_jax.models import base, linear
from item_jax.models.layers import Encoder, TransformerConfig
from item_jax.training import sharding

ONE = TransformerConfig(
  layers=1, width=16, heads=2, mlp=24, init_std=0.3, dtype=jnp.bfloat16
)
MANY = dataclasses.replace(ONE, devices=4)
X_BSD = jax.random.normal(jax.random.key(1), (8, 5, 16), jnp.bfloat16)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
  ("features", "axis", "inside"),
  [(6, -1, (16,)), ((3, 2, 4), -1, (16,)), (6, (-2, -1), (2, 8))],
)
@pytest.mark.parametrize("out", [None, jnp.float32])
def test_a_layer_of_many_devices_is_that_of_one(
  features, axis, inside, out, use_bias
):
  """The same parameters, the same values to a bit, gradients to rounding."""
  x = X_BSD.reshape(8, 5, *inside)
  options = {"axis": axis, "out": out, "use_bias": use_bias, "name": "of"}
  found = []
  for config in (ONE, MANY):
    layer = linear.dense(config, features, **options)
    params = layer.init(jax.random.key(0), x)

    def scaled(params, x, layer=layer):
      return (layer.apply(params, x).astype(jnp.float32) ** 2).sum()

    found.append(
      (params, layer.apply(params, x), jax.grad(scaled, (0, 1))(params, x))
    )
  (params, y, grads), (params_many, y_many, grads_many) = found
  jax.tree.map(np.testing.assert_array_equal, params, params_many)
  assert y.dtype == y_many.dtype
  np.testing.assert_array_equal(y, y_many)
  for one, many in zip(*map(jax.tree.leaves, (grads, grads_many)), strict=True):
    one, many = (np.asarray(g, np.float32) for g in (one, many))
    assert np.abs(one - many).max() <= 0.02 * np.abs(one).max()


@pytest.mark.parametrize("axis", [-1, (-2, -1)])
@pytest.mark.parametrize("features", [3, (5, 2, 9)])  # fewer than in, and more
@pytest.mark.parametrize("out", [None, jnp.float32])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_layers_gradients_are_those_of_its_sums(features, axis, out, dtype):
  """On this platform, in values and types; of rows along several axes."""
  config = dataclasses.replace(ONE, dtype=dtype)
  x = X_BSD.reshape(4, 2, 5, 4, 4).astype(dtype)
  layer = linear.dense(config, features, axis=axis, out=out)
  params = layer.init(jax.random.key(0), x)
  y, back = jax.vjp(layer.apply, params, x)
  cotangent = jax.random.normal(jax.random.key(2), y.shape, y.dtype)
  of_params, of_x = back(cotangent)
  assert of_x.dtype == x.dtype
  contracted = 2 if isinstance(axis, tuple) else 1
  x, kernel, g = (
    np.asarray(v, np.float64)
    for v in (x, params["params"]["kernel"], cotangent)
  )
  rows = tuple(range(x.ndim - contracted))
  wanted = {
    "kernel": np.tensordot(x, g, (rows, rows)),
    "bias": g.sum(rows),
    "x": np.tensordot(
      g,
      kernel,
      (range(len(rows), g.ndim), range(contracted, kernel.ndim)),
    ),
  }
  found = {**of_params["params"], "x": of_x}
  rtol = 5e-2 if dtype == jnp.bfloat16 else 1e-5
  for name, want in wanted.items():
    got = np.asarray(found[name], np.float64)
    np.testing.assert_allclose(got, want, atol=rtol * np.abs(want).max())


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_gradient_that_jax_derives(platform):
  """The same products, of the same shapes, as without a form for CPUs."""
  kernel = jnp.ones((16, 48), jnp.bfloat16)

  def products(times):
    gradient = jax.grad(
      lambda *of: times(*of).astype(jnp.float32).sum(), argnums=(0, 1)
    )
    traced = jax.jit(gradient).trace(X_BSD, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "optimization_barrier" not in text
    return sorted(re.findall(r"dot_general .*? (contracting.*)", text))

  ours = products(lambda x, w: linear._product_on_one_device(x, w, 1, None))
  assert ours == products(lambda x, w: jnp.tensordot(x, w, 1))
  assert len(ours) == 2


def sums(config, shape=X_BSD.shape) -> set[tuple]:
  """(shape, type) of each sum over rows in an encoder's backward pass."""
  encoder = Encoder(config)
  lengths_B = jnp.full((8,), 5)

  def apply(params, x):
    states = encoder.apply(params, x, lengths_B, deterministic=True)
    return states.astype(jnp.float32).sum()

  params = encoder.init(jax.random.key(0), X_BSD, lengths_B, deterministic=True)
  made = jax.make_jaxpr(jax.grad(apply))(params, X_BSD)
  shapes = {leaf.shape for leaf in jax.tree.leaves(params)}
  return {
    (eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype.name)
    for eqn in jaxprs.flat(made.jaxpr)
    if eqn.primitive.name in ("dot_general", "reduce_sum")
    and eqn.outvars[0].aval.shape in shapes
  }


def test_gradients_of_parameters_are_sums_of_float32():
  """Of all kernels and biases; on one device they are as they were."""
  assert {dtype for _, dtype in sums(MANY)} == {"float32"}
  small = dataclasses.replace(MANY, reduce_dtype="bfloat16")
  for config in (ONE, small):
    assert "bfloat16" in {dtype for _, dtype in sums(config)}
  assert len(sums(MANY)) >= 6


def test_float32_needs_no_layers_of_its_own():
  plain = dataclasses.replace(ONE, dtype=jnp.float32)
  many = dataclasses.replace(plain, devices=4)
  text = [
    str(
      jax.make_jaxpr(Encoder(c).init_with_output)(
        {"params": jax.random.key(0)},
        X_BSD,
        jnp.full((8,), 5),
        deterministic=True,
      )
    )
    for c in (plain, many)
  ]
  assert operator.eq(*text)


def test_rows_of_a_table_add_up_as_one_devices():
  """Ids that stand in the rows of several devices, and twice in one."""
  table_VD = jax.random.normal(jax.random.key(0), (11, 3))
  ids_BT = jnp.array([[1, 1], [2, 10], [1, 0], [3, 3], [4, 1], [5, 6]] * 2)
  cotangent = jax.random.normal(jax.random.key(1), (12, 2, 3))
  found = []
  for config in (ONE, MANY):
    rows, back = jax.vjp(
      lambda table, config=config: linear.look_up(config, table, ids_BT),
      table_VD,
    )
    found.append((rows, back(cotangent)[0]))
  np.testing.assert_array_equal(found[0][0], found[1][0])
  np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(4, 1), (1, 4), (2, 2)])
def test_each_device_adds_its_own_rows_and_none_moves(axes):
  """Of a whole table and of one split by rows: what is sent is tables."""
  mesh = sharding.make_mesh(*axes)
  table = jax.ShapeDtypeStruct((512, 64), jnp.float32)
  (place,) = jax.tree.leaves(sharding.for_state(mesh, [table]))
  over = sharding.over_batch(mesh)
  gather = sharding.make_gather(mesh, place) or (lambda table: table)

  def gradient(table_VD, ids_BT, weight_BTD):
    def loss(table_VD):
      rows = linear.look_up(MANY, gather(table_VD), ids_BT)
      return (rows * weight_BTD).sum()

    return jax.grad(loss)(table_VD)

  compiled = (
    jax.jit(gradient, in_shardings=(place, over, over), out_shardings=place)
    .lower(
      table,
      jax.ShapeDtypeStruct((8, 3), jnp.int32),
      jax.ShapeDtypeStruct((8, 3, 64), jnp.float32),
    )
    .compile()
    .as_text()
  )
  from item_jax.diagnostics.hlo import read_program

  sent = read_program(compiled).collectives
  assert {one.bytes // one.messages for one in sent} == {512 * 64 * 4}, sent


def test_a_network_knows_how_many_devices_there_are():
  config = Config()
  assert base.encoder_config(config, "xla").devices == 1
  config.mesh.fsdp = 2
  made = base.encoder_config(on_devices(config, 8), "xla")
  assert (made.devices, made.reduce_dtype) == (8, "float32")
  assert config.mesh.data == -1


@pytest.mark.parametrize("config", [ONE, MANY], ids=["one", "many"])
def test_what_tpus_split_before_the_bias_is_what_others_split_after_it(
  config, monkeypatch
):
  """To a bit; gradients to rounding. And it is the layer without a split."""
  options = {"features": (3, 2, 4), "name": "of"}
  split = linear.dense(config, split=True, **options)
  params = split.init(jax.random.key(0), X_BSD)
  params["params"]["bias"] += jnp.arange(24.0).reshape(3, 2, 4)
  cotangent = jax.random.normal(jax.random.key(2), (3, 8, 5, 2, 4))
  cotangent = cotangent.astype(jnp.bfloat16)

  def found():
    out, back = jax.vjp(lambda *x: jnp.stack(split.apply(*x)), params, X_BSD)
    return out, *jax.tree.leaves(back(cotangent))

  of_others = found()
  whole = linear.dense(config, **options).apply(params, X_BSD)
  np.testing.assert_array_equal(of_others[0], jnp.moveaxis(whole, 2, 0))
  monkeypatch.setattr(
    *(jax.lax, "platform_dependent"),
    lambda *args, tpu=None, default, **others: (tpu or default)(*args),
  )
  of_tpus = found()
  np.testing.assert_array_equal(of_tpus[0], of_others[0])
  for got, want in zip(of_tpus[1:], of_others[1:], strict=True):
    np.testing.assert_allclose(
      np.asarray(got, np.float32),
      np.asarray(want, np.float32),
      rtol=2e-2,
      atol=1e-2,
    )
