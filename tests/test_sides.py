"""Laws of the vectors of image and title that pass the transformer by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from item_jax.models import sides
from item_jax.models.sides import Sides

B, D, C, V, T, W = 5, 6, 12, 20, 4, 8


@pytest.fixture
def inputs():
  draw = np.random.default_rng(0)
  g_BD = draw.normal(size=(B, D)).astype(np.float32)
  image_BC = draw.uniform(size=(B, C)).astype(np.float32)
  tokens_BT = draw.integers(3, V, size=(B, T))
  return g_BD, image_BC, tokens_BT, np.ones((B, T), bool)


@pytest.fixture
def params(inputs):
  module = Sides(width=W, channels=C, vocab_size=V)
  made = module.init(jax.random.key(1), *inputs)["params"]
  return jax.tree.map(np.asarray, made)


def apply(params, *inputs):
  module = Sides(width=W, channels=C, vocab_size=V)
  return np.asarray(module.apply({"params": params}, *inputs))


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_a_cosine_is_the_shares_of_three_cosines(params, inputs):
  g_BD, image_BC, tokens_BT, _ = inputs
  out = apply(params, *inputs)
  image = unit(unit(image_BC) @ params["image_kernel"])
  title = unit(params["word"][tokens_BT].sum(1))
  expected = sum(
    share * (part @ part.T)
    for share, part in zip(
      sides.SHARES, (unit(g_BD), image, title), strict=True
    )
  )
  np.testing.assert_allclose(out @ out.T, expected, atol=1e-5)


def test_a_missing_side_has_no_part_in_a_cosine(params, inputs):
  g_BD, image_BC, tokens_BT, real_BT = inputs
  whole = apply(params, *inputs)
  no_image = apply(params, g_BD, 0 * image_BC, tokens_BT, real_BT)
  no_title = apply(params, g_BD, image_BC, tokens_BT, ~real_BT)
  assert not no_image[:, D : D + W].any()
  np.testing.assert_array_equal(no_image[:, D + W :], whole[:, D + W :])
  assert not no_title[:, D + W :].any()
  np.testing.assert_array_equal(no_title[:, : D + W], whole[:, : D + W])


def test_gradients_are_finite_where_a_side_is_missing(params, inputs):
  g_BD, image_BC, tokens_BT, real_BT = inputs
  module = Sides(width=W, channels=C, vocab_size=V)

  def loss(params):
    out = module.apply(
      {"params": params}, g_BD, 0 * image_BC, tokens_BT, ~real_BT
    )
    return (out @ out.T).sum()

  gradients = jax.grad(loss)(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_rarity_is_the_idf_of_sklearn(params):
  tokens_NT = np.array([[3, 4, 4, 2], [3, 5, 2, 0], [6, 2, 0, 0]])
  made = sides.fit(params, np.eye(C), tokens_NT, special=(0, 1, 2))
  weight_V = np.asarray(jax.nn.softplus(jnp.asarray(made["rarity"])))
  counts_NV = np.zeros((3, V))
  for row, tokens_T in enumerate(tokens_NT):
    counts_NV[row, tokens_T] = 1
  idf_V = TfidfTransformer().fit(counts_NV).idf_
  np.testing.assert_allclose(weight_V[3:], idf_V[3:], rtol=1e-5)
  assert weight_V[:3].max() < 1e-9  # what is no word has no weight


def test_whitening_brings_strong_directions_to_one_length(params):
  draw = np.random.default_rng(2)
  rows = draw.normal(size=(4_000, C)) * np.linspace(40, 20, C) + 5
  mean_C, kernel_CW = sides.whitening(rows, W)
  out = (unit(rows) - mean_C) @ kernel_CW
  np.testing.assert_allclose(out.mean(0), 0, atol=1e-6)
  covariance = np.cov(out.T)
  variance = np.diag(covariance)
  np.testing.assert_allclose(covariance - np.diag(variance), 0, atol=1e-6)
  before = np.linalg.eigvalsh(np.cov(unit(rows).T))[::-1][:W]
  # v / (v + mean v), as a ridge of the mean variance leaves it.
  ridge = np.trace(np.cov(unit(rows).T)) / C
  np.testing.assert_allclose(variance * C, before / (before + ridge), rtol=2e-3)


def test_fewer_features_than_width_leave_the_rest_zero():
  rows = np.random.default_rng(3).normal(size=(50, 4))
  _, kernel_CW = sides.whitening(rows, W)
  assert kernel_CW.shape == (4, W)
  assert not kernel_CW[:, 4:].any()


def test_rows_that_are_missing_or_all_the_same_give_a_finite_start(params):
  for rows in (np.zeros((3, C)), np.ones((3, C))):
    made = sides.fit(params, rows, np.full((2, T), 5), special=(0,))
    assert all(np.isfinite(x).all() for x in made.values())
