"""Laws of the two towers and of their fusion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.models import layers
from item_jax.models.clip import Clip, late_fusion

LENGTH = 10  # of a vector: unlike every width


def make_model(**changes) -> Clip:
  fields = {
    "vocab_size": tiny.WORDS,
    "pad": tiny.PAD,
    "cls": tiny.CLS,
    "sep": tiny.SEP,
    "image_size": tiny.IMAGE,
    "patch": tiny.PATCH,
    "max_title_tokens": tiny.PLACES,
    "text_layers": 2,
    "text_width": 16,
    "text_heads": 2,
    "text_mlp": 36,
    "projection": LENGTH,
  }
  return tiny.build_clip(**(fields | changes))


@pytest.fixture(scope="module")
def params():
  run = jax.jit(make_model().init)
  return run(jax.random.key(0), tiny.make_batch(1))["params"]


@functools.partial(jax.jit, static_argnums=0)
def both(model, params, batch):
  """(photos' vectors, titles' vectors)."""
  return model.apply({"params": params}, batch)[:2]


@functools.partial(jax.jit, static_argnums=0)
def title_states(model, params, batch):
  """Every state of the titles' tower, before and after its last norm."""
  _, seen = model.apply(
    {"params": params},
    batch,
    method="title",
    capture_intermediates=True,
    mutable=["intermediates"],
  )
  encoder = seen["intermediates"]["title_tower"]["encoder"]
  return encoder["layer_1"]["__call__"][0], encoder["__call__"][0]


def test_late_fusion_is_a_mean_of_cosines():
  """Both cosines are .6, so the score is .6 for every weight."""
  u, v = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
  there = np.ones(1, bool)
  for other_u, other_v in (
    ([[0.6, 0.8]], [[0.8, 0.6]]),
    ([[0.6, -0.8]], [[-0.8, 0.6]]),
  ):
    for weight in (0.0, 0.3, 0.5, 1.0):
      a = late_fusion(u, v, there, there, weight)
      # Lengths play no part: the vectors are made units first.
      b = late_fusion(
        3.0 * jnp.array(other_u), 0.2 * jnp.array(other_v), there, there, weight
      )
      assert a.shape == (1, 4)
      np.testing.assert_allclose((a * b).sum(), 0.6, atol=1e-6)
  # cosines .6 and 0: the score is .6 a
  b = late_fusion(jnp.array([[0.6, 0.8]]), u, there, there, 0.3)
  a = late_fusion(u, v, there, there, 0.3)
  np.testing.assert_allclose((a * b).sum(), 0.18, atol=1e-6)


def test_the_embedding_is_the_fusion_of_both_vectors(params):
  model, batch = make_model(), tiny.make_batch()
  image, title = (np.array(x) for x in both(model, params, batch))
  assert image.shape == title.shape == (8, LENGTH)
  embed = functools.partial(model.apply, image_weight=0.3, method="embed")
  got = np.asarray(jax.jit(embed)({"params": params}, batch))
  image /= np.linalg.norm(image, axis=1, keepdims=True)
  title /= np.linalg.norm(title, axis=1, keepdims=True)
  want = 0.3 * image @ image.T + 0.7 * title @ title.T
  np.testing.assert_allclose(got @ got.T, want, atol=1e-5)


def test_missing_modalities_are_not_read_and_nothing_is_nan(params):
  model = make_model()
  has_image = np.array([True, True, False, False] * 2)
  has_title = np.array([True, False, True, False] * 2)
  batch = tiny.make_batch()._replace(
    has_image_B=has_image, has_title_B=has_title
  )
  other = tiny.make_batch(seed=1)
  words = np.where(has_title[:, None], batch.tokens_BT, other.tokens_BT)
  words[3] = tiny.PAD  # nor is a row without a word
  image = batch.image_BHWC.copy()
  image[~has_image] = other.image_BHWC[~has_image]
  changed = batch._replace(tokens_BT=words, image_BHWC=image)

  @jax.jit
  def run(params, batch):
    def total(params):
      out = model.apply({"params": params}, batch, method="embed")
      return jnp.sin(3 * out).sum(), out

    slope, out = jax.grad(total, has_aux=True)(params)
    return out, slope

  a, b = run(params, batch), run(params, changed)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x, y, atol=1e-5)
  out = np.asarray(a[0])
  neither = ~has_image & ~has_title
  assert (out[~has_image & has_title, :LENGTH] == 0).all()
  assert (out[~has_title & has_image, LENGTH:] == 0).all()
  # One vector for all that have neither, and a proper one.
  np.testing.assert_allclose(out[neither], out[3:4].repeat(2, 0), atol=1e-6)
  half = np.sqrt(0.5)
  lengths = np.where(has_image == has_title, 1.0, half)
  np.testing.assert_allclose(np.linalg.norm(out, axis=1), lengths, atol=1e-5)


def test_a_later_token_changes_no_earlier_state(params):
  batch = tiny.make_batch(lengths=[6] * 8)
  words = batch.tokens_BT.copy()
  words[:, 4] = np.where(words[:, 4] == 7, 8, 7)
  changed = batch._replace(tokens_BT=words)
  for causal in (True, False):
    model = make_model(causal=causal)
    a = title_states(model, params, batch)[0]
    b = title_states(model, params, changed)[0]
    moved = np.abs(np.asarray(a) - b).max(-1)
    assert (moved[:, 5:8] > 1e-5).all()  # the word itself, those behind it
    if causal:
      np.testing.assert_array_equal(moved[:, :5], 0)
    else:
      assert (moved[:, :5] > 1e-5).all()


def test_the_title_is_read_at_its_end(params):
  """The state of the first [SEP], whichever word the rest is padded with."""
  model = make_model()
  lengths = [1, 2, 3, 4, 5, 6, 7, 7]
  batch = tiny.make_batch(lengths=lengths)
  got = both(model, params, batch)[1]
  states = title_states(model, params, batch)[1]
  at_end = np.stack([states[i, 1 + n] for i, n in enumerate(lengths)])
  want = at_end @ np.asarray(params["title_projection"]["kernel"])
  np.testing.assert_allclose(got, want, atol=1e-5)
  ended = np.where(batch.tokens_BT == tiny.PAD, tiny.SEP, batch.tokens_BT)
  again = both(
    make_model(pad=tiny.SEP), params, batch._replace(tokens_BT=ended)
  )[1]
  np.testing.assert_allclose(got, again, atol=1e-5)


def test_longer_padding_changes_nothing(params):
  batch = tiny.make_batch()
  tower = params["title_tower"]
  more = jax.random.normal(jax.random.key(9), (5, 16))
  longer = params | {
    "title_tower": tower
    | {"position": jnp.concatenate([tower["position"], more])}
  }
  padded = batch._replace(tokens_BT=np.pad(batch.tokens_BT, [(0, 0), (0, 5)]))
  model = make_model(causal=False)  # where a causal one could not look anyway
  np.testing.assert_allclose(
    both(model, params, batch)[1],
    both(model.clone(max_title_tokens=tiny.PLACES + 5), longer, padded)[1],
    atol=1e-5,
  )


def test_a_tower_sees_only_its_own_modality(params):
  model, batch, other = make_model(), tiny.make_batch(), tiny.make_batch(seed=1)
  image, title = both(model, params, batch)
  new_image, same_title = both(
    model, params, batch._replace(image_BHWC=other.image_BHWC)
  )
  np.testing.assert_array_equal(title, same_title)
  assert (np.abs(np.asarray(image) - new_image).max(-1) > 1e-3).all()


def test_the_scale_begins_at_a_temperature_of_seven_hundredths(params):
  np.testing.assert_allclose(np.exp(-params["log_scale"]), 0.07, rtol=1e-6)


def test_quick_gelu_by_hand():
  """x / (1 + exp(-1.702 x)) at 1: 1 / (1 + 0.18232) = 0.84580."""
  quick = layers.activation("quick_gelu")
  np.testing.assert_allclose(
    quick(jnp.array([0.0, 1.0, -1.0])), [0.0, 0.84580, -0.15420], atol=1e-5
  )


def test_units_have_a_gradient_at_zero():
  rows = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  np.testing.assert_allclose(layers.unit(rows), [[0.6, 0.8], [0, 0]], atol=1e-6)
  slope = jax.grad(lambda x: layers.unit(x)[:, 0].sum())(rows)
  assert np.isfinite(slope).all()


def test_parameters_of_vit_b_32():
  """151,277,313 are CLIP's; ours gives the patch projection a bias."""
  model = make_model(
    vocab_size=49_408,
    image_size=224,
    patch=32,
    max_title_tokens=76,
    layers=12,
    width=768,
    heads=12,
    mlp=3072,
    text_layers=12,
    text_width=512,
    text_heads=8,
    text_mlp=2048,
    projection=512,
  )
  batch = tiny.make_batch(1)._replace(
    image_BHWC=np.zeros((1, 224, 224, 3), np.uint8),
    tokens_BT=np.zeros((1, 76), np.int32),
  )
  shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
  count = sum(x.size for x in jax.tree.leaves(shapes))
  assert count == 151_277_313 + 768
