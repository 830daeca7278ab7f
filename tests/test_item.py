"""Laws of the network: what may reach what, and what must not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.batch import Batch
from item_jax.errors import UserError
from item_jax.models import heads
from item_jax.models.layers import TransformerConfig, attend

PLACES = jnp.array([[0, 2, 3]] * 8)


def encode(model, params, batch, hidden=None):
  return np.asarray(tiny.states(model, params, batch, hidden))


@pytest.fixture(scope="module", params=["post", "pre"])
def net(request):
  model = tiny.make_model(norm=request.param)
  return model, tiny.init(model)


def test_global_predictions_see_g_alone(net):
  model, params = net
  states = jnp.asarray(encode(model, params, tiny.make_batch()))

  def total(states, name):
    said = tiny.predict(model, params, states, PLACES)
    return (jnp.sin(getattr(said, name)) ** 2).sum()

  slope_of = jax.jit(jax.grad(total), static_argnums=1)
  for name in ("gmlm_BKV", "gmim_BKP", "itm_B2"):
    slope = np.asarray(slope_of(states, name))
    assert (slope[:, 1:] == 0).all(), name
    assert (np.abs(slope[:, 0]).max(-1) > 0).all(), name
  for name, first in (("mlm_BKV", 1 + tiny.N), ("mim_BKP", 1)):
    slope = np.abs(np.asarray(slope_of(states, name))).max(-1)
    used = np.flatnonzero(slope[0])
    assert used.tolist() == [first, first + 2, first + 3], name


def test_global_predictions_differ_by_position_and_train_its_table(net):
  model, params = net
  states = jnp.asarray(encode(model, params, tiny.make_batch()))

  def total(params):
    said = tiny.predict(model, params, states, PLACES)
    return (said.gmlm_BKV**2).sum() + (said.gmim_BKP**2).sum(), said

  slopes, said = jax.jit(jax.grad(total, has_aux=True))(params)
  assert np.abs(said.gmlm_BKV[:, 0] - said.gmlm_BKV[:, 1]).max() > 1e-3
  assert np.abs(said.gmim_BKP[:, 0] - said.gmim_BKP[:, 1]).max() > 1e-3
  for table in ("title_position", "patch_position"):
    rows = np.flatnonzero(np.abs(slopes[table]).max(-1))
    assert rows.tolist() == [0, 2, 3], table


def test_longer_padding_leaves_g_unchanged(net):
  _, params = net
  batch = tiny.make_batch()
  short = tiny.make_model(norm="post" if "embed_norm" in params else "pre")
  long = short.clone(max_title_tokens=tiny.PLACES + 5)
  more = jax.random.normal(jax.random.key(9), (5, tiny.WIDTH))
  longer = dict(params)
  longer["title_position"] = jnp.concatenate([params["title_position"], more])
  padded = batch._replace(tokens_BT=np.pad(batch.tokens_BT, [(0, 0), (0, 5)]))
  np.testing.assert_allclose(
    encode(short, params, batch)[:, 0],
    encode(long, longer, padded)[:, 0],
    atol=1e-5,
  )


def test_tokens_and_patches_both_reach_g(net):
  model, params = net
  batch = tiny.make_batch()
  before = encode(model, params, batch)[:, 0]
  image = batch.image_BHWC.copy()
  image[:, 0, 0] ^= 128
  words = batch.tokens_BT.copy()
  words[:, 0] = np.where(words[:, 0] == 7, 8, 7)
  for changed in (
    batch._replace(image_BHWC=image),
    batch._replace(tokens_BT=words),
  ):
    moved = np.abs(encode(model, params, changed)[:, 0] - before).max(-1)
    assert (moved > 1e-4).all()


@pytest.mark.parametrize("side", ["image", "title"])
def test_a_missing_modality_is_not_read(net, side):
  model, params = net
  batch, other = tiny.make_batch(seed=1), tiny.make_batch(seed=2)
  gone = np.zeros(8, bool)
  if side == "image":
    first = batch._replace(has_image_B=gone)
    second = first._replace(image_BHWC=other.image_BHWC)
    kept = [0, *range(1 + tiny.N, 1 + tiny.N + 2)]
  else:
    first = batch._replace(has_title_B=gone)
    second = first._replace(tokens_BT=other.tokens_BT)
    kept = list(range(1 + tiny.N))
  a, b = encode(model, params, first), encode(model, params, second)
  np.testing.assert_allclose(a[:, kept], b[:, kept], atol=1e-5)
  whole = encode(model, params, batch)
  assert np.abs(a[:, 0] - whole[:, 0]).max(-1).min() > 1e-3


def test_a_missing_image_is_as_if_the_title_stood_alone(net):
  """The places of the patches take no part, wherever they are put."""
  model, params = net
  batch = tiny.make_batch()._replace(has_image_B=np.zeros(8, bool))
  got = encode(model, params, batch)
  x = params["word"][batch.tokens_BT] + (
    params["title_position"] + params["segment"][1]
  )
  cls = jnp.broadcast_to(params["cls"], (8, 1, tiny.WIDTH))
  x = jnp.concatenate([cls, x], axis=1)
  bound = model.bind({"params": params})
  if model.config.norm == "post":
    x = bound.embed_norm(x)
  lengths = 1 + (batch.tokens_BT != tiny.PAD).sum(-1)
  want = np.asarray(bound.encoder(x, jnp.asarray(lengths), deterministic=True))
  np.testing.assert_allclose(got[:, 0], want[:, 0], atol=1e-5)
  for row in range(8):
    n = lengths[row] - 1
    first = 1 + tiny.N
    np.testing.assert_allclose(
      got[row, first : first + n], want[row, 1 : 1 + n], atol=1e-5
    )


@pytest.mark.parametrize("modality", ["image", "title"])
def test_one_modality_is_as_if_the_other_were_missing(net, modality):
  """A row that lacks the one modality too is left with [CLS]."""
  model, params = net
  has = np.array([True, False] * 4)
  batch = tiny.make_batch()._replace(has_image_B=has, has_title_B=has)
  other = "has_title_B" if modality == "image" else "has_image_B"
  want = encode(model, params, batch._replace(**{other: np.zeros(8, bool)}))

  @jax.jit
  def run(batch):
    return tuple(
      model.apply({"params": params}, batch, modality=modality, method=method)
      for method in ("encode", "embed")
    )

  got, embedded = map(np.asarray, run(batch))
  np.testing.assert_array_equal(embedded, got[:, 0])
  places = tiny.N if modality == "image" else tiny.PLACES
  assert got.shape == (8, 1 + places, tiny.WIDTH)
  np.testing.assert_allclose(got[:, 0], want[:, 0], atol=1e-5)
  alone = got[1::2, 0]
  np.testing.assert_allclose(alone, alone[:1].repeat(4, 0), atol=1e-6)
  unlike = tiny.make_batch(seed=3)._replace(has_image_B=has, has_title_B=has)
  changed = np.asarray(run(unlike)[1])
  np.testing.assert_allclose(changed[1::2], alone, atol=1e-6)
  assert np.abs(changed[::2] - got[::2, 0]).max(-1).min() > 1e-3


def test_an_unknown_modality_is_refused():
  model = tiny.make_model()
  with pytest.raises(UserError, match="modality='photo': known are both"):
    model.init(
      jax.random.key(0), tiny.make_batch(1), modality="photo", method="embed"
    )


def test_a_sum_head_is_a_concat_head_whose_halves_are_one_matrix():
  rng = np.random.default_rng(0)
  g, p = rng.normal(size=(2, 5)), rng.normal(size=(2, 3, 5))
  config = TransformerConfig(layers=0, width=5, heads=1, mlp=0, init_std=0.5)
  plain = heads.GlobalTransform(config, join="sum")
  params = plain.init(jax.random.key(0), g, p)["params"]
  halves = {k: v for k, v in params.items() if k != "of_sum"}
  halves["of_global"] = params["of_sum"]
  halves["of_place"] = {"kernel": params["of_sum"]["kernel"]}
  split = heads.GlobalTransform(config, join="concat")
  np.testing.assert_allclose(
    plain.apply({"params": params}, g, p),
    split.apply({"params": halves}, g, p),
    atol=1e-5,
  )


def test_options_reach_the_network():
  """One matrix fewer in each global head; every norm; every MLP."""
  shapes = jax.eval_shape(lambda: tiny.init(tiny.make_model()))
  joined = jax.eval_shape(lambda: tiny.init(tiny.make_model(global_head="sum")))
  count = [sum(x.size for x in jax.tree.leaves(t)) for t in (shapes, joined)]
  assert count[0] - count[1] == 2 * tiny.WIDTH**2

  model, batch = tiny.make_model(layers=1), tiny.make_batch(2)
  params = tiny.init(model)
  g = encode(model, params, batch)[:, 0]
  quick = encode(
    tiny.with_encoder(model, activation="quick_gelu"), params, batch
  )[:, 0]
  assert 1e-4 < np.abs(quick - g).max() < 0.5
  # Every norm divides by sqrt(variance + epsilon): 1e9 flattens them all.
  flat = encode(tiny.with_encoder(model, epsilon=1e9), params, batch)
  assert np.abs(flat).max() < 1e-3
  with pytest.raises(UserError, match="activation='relu': known are gelu"):
    encode(tiny.with_encoder(model, activation="relu"), params, batch)


def test_masked_patches_are_not_seen(net):
  model, params = net
  batch = tiny.make_batch()
  hidden = np.zeros((8, tiny.N), bool)
  hidden[:, 5] = True  # row 1, column 1 of a 4 x 4 grid
  image = batch.image_BHWC.copy()
  image[:, 3:6, 3:6] ^= 255
  a = encode(model, params, batch, hidden)
  b = encode(model, params, batch._replace(image_BHWC=image), hidden)
  np.testing.assert_array_equal(a, b)
  assert (a != encode(model, params, batch)).any()


def test_rows_do_not_mix(net):
  model, params = net
  batch = tiny.make_batch()
  whole = encode(model, params, batch)
  first = encode(model, params, Batch(*(x[:1] for x in batch)))
  real = 1 + tiny.N + int((batch.tokens_BT[0] != 0).sum())
  np.testing.assert_allclose(whole[0, :real], first[0, :real], atol=1e-5)


def test_dropout_is_there_in_training_and_only_there(net):
  model, params = net
  model = tiny.with_encoder(model, dropout=0.5)
  batch = tiny.make_batch()

  @jax.jit
  def run(seed):
    return model.apply(
      {"params": params},
      batch,
      deterministic=False,
      rngs={"dropout": jax.random.key(seed)},
      method="encode",
    )

  np.testing.assert_array_equal(run(1), run(1))
  assert (run(1) != run(2)).any()
  np.testing.assert_array_equal(
    encode(model, params, batch),
    encode(tiny.with_encoder(model, dropout=0.0), params, batch),
  )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
  ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)]
)
def test_attention_is_softmax_attention(dtype, tolerance, causal):
  """Against float64 numpy; on this device's kernel, padding left out."""
  rng = np.random.default_rng(0)
  q, k, v = rng.normal(size=(3, 4, 16, 2, 8))
  q, k, v = (np.asarray(jnp.asarray(x, dtype), np.float64) for x in (q, k, v))
  lengths = np.array([16, 1, 7, 12])
  score = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8)
  seen = np.arange(16) < lengths[:, None, None, None]
  if causal:
    seen = seen & (np.arange(16) <= np.arange(16)[:, None])
  score = np.where(seen, score, -np.inf)
  weight = np.exp(score - score.max(-1, keepdims=True))
  weight /= weight.sum(-1, keepdims=True)
  want = np.einsum("bhqk,bkhd->bqhd", weight, v)
  got = attend(
    *(jnp.asarray(x, dtype) for x in (q, k, v)),
    jnp.asarray(lengths),
    implementation="xla",
    causal=causal,
  )
  assert got.dtype == dtype
  np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=tolerance)


def test_bfloat16_keeps_parameters_and_predictions_in_float32():
  model = tiny.make_model(dtype=jnp.bfloat16)
  params = tiny.init(model)
  assert {x.dtype.name for x in jax.tree.leaves(params)} == {"float32"}
  batch = tiny.make_batch()
  states = tiny.states(model, params, batch)
  assert states.dtype == jnp.bfloat16
  said = tiny.predict(model, params, states, PLACES)
  assert {x.dtype.name for x in said} == {"float32"}
  exact = encode(tiny.make_model(), params, batch)[:, 0]
  close = np.asarray(states[:, 0], np.float32)
  assert np.abs(exact - close).max() < 0.1 * np.abs(exact).max()


def test_recomputing_layers_changes_nothing(net):
  model, params = net

  def loss(params, model):
    g_BD = tiny.states(model, params, tiny.make_batch())[:, 0]
    return (g_BD * jnp.arange(tiny.WIDTH)).sum()  # g's length never varies

  slope = jax.jit(jax.grad(loss), static_argnums=1)
  plain = slope(params, model)
  again = slope(params, tiny.with_encoder(model, remat=True))
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
