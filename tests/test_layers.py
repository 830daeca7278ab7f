"""What the layers keep and in which type they compute, beside their values."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxprs
import numpy as np
import pytest

from item_jax.models import attention, heads, layers

CONFIG = layers.TransformerConfig(
  layers=0, width=8, heads=1, mlp=0, init_std=0.1, dtype=jnp.bfloat16
)
PLAIN = {
  "gelu": lambda x: nn.gelu(x, approximate=False),
  "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
}


@pytest.mark.parametrize("name", PLAIN)
def test_an_activations_gradient_is_that_of_autodiff(name):
  x = jnp.concatenate([jnp.linspace(-12, 12, 4001), jnp.array([0.0, 1e-20])])
  ours, plain = layers.activation(name), PLAIN[name]
  np.testing.assert_allclose(ours(x), plain(x), rtol=1e-6, atol=1e-6)
  gradient = jax.vmap(jax.grad(ours))(x)
  np.testing.assert_allclose(gradient, jax.vmap(jax.grad(plain))(x), atol=2e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_an_activation_in_bfloat16_is_rounded_once(name):
  x = jnp.linspace(-6, 6, 4001).astype(jnp.bfloat16)
  exact = PLAIN[name](x.astype(jnp.float32))
  np.testing.assert_allclose(
    layers.activation(name)(x).astype(jnp.float32),
    exact,
    rtol=2**-8,  # half of its last digit
    atol=1e-6,
  )


@pytest.mark.parametrize("name", PLAIN)
def test_an_activation_keeps_only_its_input(name):
  x = jnp.ones((3, 5), jnp.bfloat16)
  _, backward = jax.vjp(layers.activation(name), x)
  (kept,) = jax.tree.leaves(backward)
  assert (kept.shape, kept.dtype) == (x.shape, x.dtype)
  assert backward(x)[0].dtype == jnp.bfloat16


def products(function, *args) -> list:
  """(types of the factors, type of the sums) of every matrix product."""
  return [
    ({str(v.aval.dtype) for v in eqn.invars}, str(eqn.outvars[0].aval.dtype))
    for eqn in jaxprs.flat(jax.make_jaxpr(function)(*args).jaxpr)
    if eqn.primitive.name == "dot_general"
  ]


def test_the_decoders_gradients_are_those_of_a_plain_product():
  keys = jax.random.split(jax.random.key(0), 3)
  h = jax.random.normal(keys[0], (2, 3, 8))
  table = jax.random.normal(keys[1], (11, 8))
  cotangent = jax.random.normal(keys[2], (2, 3, 11))

  def plain(h, table):
    return jnp.einsum("bkd,vd->bkv", h, table)

  ours, back = jax.vjp(heads._against_all, h, table)
  np.testing.assert_allclose(ours, plain(h, table), rtol=1e-6)
  for got, want in zip(
    back(cotangent), jax.vjp(plain, h, table)[1](cotangent), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_products_with_the_token_table_are_of_bfloat16_both_ways(platform):
  """And summed in float32; so is the gradient that the table is cotangent.

  To a TPU the table goes as it is, to be rounded while it is multiplied.
  """
  h = jnp.ones((2, 3, 8), jnp.bfloat16)
  table = jnp.ones((11, 8))
  gradient = jax.value_and_grad(
    lambda *x: heads._against_all(*x).sum(), argnums=(0, 1)
  )
  found = [x.dtype.name for x in gradient(h, table)[1]]
  assert found == ["bfloat16", "float32"]
  with jax.default_matmul_precision("highest"):
    traced = jax.jit(gradient).trace(h, table)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
  products = re.findall(
    r"dot_general.*\[(\w+), .*x(\w+)>, .*x(\w+)>\) -> .*x(\w+)>", text
  )
  with_table = ("DEFAULT", "f32", "f32", "f32")
  if platform != "tpu":
    with_table = ("HIGHEST", "bf16", "bf16", "f32")
  of_table = ("HIGHEST", "bf16", "bf16", "f32")
  assert products == [with_table, of_table, with_table]


@pytest.mark.parametrize(
  "head",
  [
    heads.MatchHead(CONFIG),
    heads.PixelDecoder(CONFIG, pixels=5),
  ],
)
def test_predictions_are_summed_in_float32(head):
  x = jnp.ones((4, 8), jnp.bfloat16)
  found = products(lambda key: head.init_with_output(key, x), jax.random.key(0))
  assert found[-1] == ({"bfloat16"}, "float32")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [7, 8])
def test_what_is_padded_for_cudnn_is_attended_to_as_before(
  monkeypatch, length, causal
):
  """Values and gradients; the kernel sees even lengths only.

  What they are compared with is what CPUs compute, without jax's.
  """
  plain, seen = jax.nn.dot_product_attention, []

  def kernel(query, *args, implementation, **options):
    seen.append((query.shape[1], implementation))
    return plain(query, *args, implementation="xla", **options)

  monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
  keys = jax.random.split(jax.random.key(0), 4)
  *qkv, cotangent = (jax.random.normal(k, (3, length, 2, 8)) for k in keys)
  lengths_B = jnp.array([length, 4, 1])

  def attended(implementation):
    def mixed(*qkv):
      return layers.attend(
        *qkv, lengths_B, implementation=implementation, causal=causal
      )

    out, back = jax.vjp(mixed, *qkv)
    return out, *back(cotangent)

  for got, want in zip(attended("cudnn"), attended("xla"), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  assert seen == [(8, "cudnn")]


@pytest.mark.parametrize("own_gradient", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_attention_on_cpus_and_tpus_is_jaxs(dtype, causal, own_gradient):
  """Values and gradients, at positions within the lengths and past them.

  Of the first row one key takes nearly all.
  """
  keys = jax.random.split(jax.random.key(0), 4)
  *qkv, cotangent = (jax.random.normal(k, (3, 7, 2, 8), dtype) for k in keys)
  qkv[0] = qkv[0].at[0].multiply(10)
  lengths_B = jnp.array([7, 4, 1])

  def plain(*qkv):
    return jax.nn.dot_product_attention(
      *qkv,
      query_seq_lengths=jnp.full((3,), 7),
      key_value_seq_lengths=lengths_B,
      is_causal=causal,
      implementation="xla",
    )

  def ours(*qkv):
    return attention.attend(
      *qkv, lengths_B, causal=causal, own_gradient=own_gradient
    )

  tolerance = 1e-5 if dtype == jnp.float32 else 3e-2
  (out, back), (want, back_plain) = jax.vjp(ours, *qkv), jax.vjp(plain, *qkv)
  found, wanted = (out, *back(cotangent)), (want, *back_plain(cotangent))
  for got, want in zip(found, wanted, strict=True):
    assert got.dtype == dtype
    got, want = (np.asarray(x, np.float32) for x in (got, want))
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_attention_on_tpus_keeps_one_array_of_pairs_in_the_type_of_values():
  shape = jax.ShapeDtypeStruct((3, 7, 2, 8), jnp.bfloat16)

  def kept(*qkv):
    def ours(*qkv):
      lengths_B = jnp.array([7, 4, 1])
      return attention.attend(*qkv, lengths_B, causal=False, own_gradient=True)

    return jax.vjp(ours, *qkv)[1]

  leaves = jax.tree.leaves(jax.eval_shape(kept, shape, shape, shape))
  of_pairs = [x.dtype for x in leaves if x.shape[-2:] == (7, 7)]
  assert of_pairs == [jnp.bfloat16]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_gpus_get_jaxs_attention_and_tpus_their_own(platform):
  """The products and the sums of `jax.nn`, or of `attention`."""
  qkv = (jnp.ones((3, 7, 2, 8), jnp.bfloat16),) * 3
  lengths_B = jnp.array([7, 4, 1])

  def operations(attended):
    gradient = jax.grad(
      lambda *qkv: attended(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2)
    )
    traced = jax.jit(gradient).trace(*qkv)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    names = ("dot_general", "transpose", "reduce", "exponential", "convert")
    return {name: text.count(f"stablehlo.{name}") for name in names}

  def plain(*qkv):
    return jax.nn.dot_product_attention(
      *qkv,
      query_seq_lengths=jnp.full_like(lengths_B, 7),
      key_value_seq_lengths=lengths_B,
      implementation="xla",
    )

  def own(*qkv):
    return attention.attend(*qkv, lengths_B, causal=False, own_gradient=True)

  def ours(*qkv):
    return layers.attend(*qkv, lengths_B, implementation="xla")

  assert operations(own) != operations(plain)
  assert operations(ours) == operations(own if platform == "tpu" else plain)
