"""The losses against numbers worked by hand (see the method's formulas)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.objectives import chance, losses

LOGITS = np.array(
  [
    [[2.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0]],
    [[1.0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
  ]
)
LABELS = np.array([[0, 0, 1], [2, 0, 0]])
MASKED = np.array([[1.0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
  ("gate", "mean"), [((1.0, 1.0), 1.6220845), ((1.0, 0.0), 1.7399796)]
)
def test_masked_cross_entropy(gate, mean):
  weights = MASKED * np.array(gate)[:, None]
  total, _ = losses.token_scores(LOGITS, LABELS, weights)
  assert float(total) / weights.sum() == pytest.approx(mean, abs=1e-6)


def test_cross_entropy_of_each_token():
  for place, expected in (
    ((0, 0), 0.340753),
    ((0, 2), 3.139206),
    ((1, 0), 1.386294),
  ):
    weights = np.zeros((2, 3))
    weights[place] = 1
    total, _ = losses.token_scores(LOGITS, LABELS, weights)
    assert float(total) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_of_cross_entropy_is_that_of_log_softmax(dtype):
  """Where no token counts it is zero, even of logits that are large."""
  random = np.random.default_rng(0)
  logits = jnp.asarray(4 * random.normal(size=(5, 7, 30)), dtype)
  logits = logits.at[0, 0, 0].set(200).at[0, 1, 3].set(-200)
  targets = random.integers(0, 30, (5, 7))
  weights = random.uniform(size=(5, 7)) * (random.uniform(size=(5, 7)) < 0.7)

  def plain(logits):
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    one = jax.nn.one_hot(targets, 30)
    return -((log_p * one).sum(-1) * weights).sum()

  def ours(logits):
    return losses.token_scores(logits, targets, weights)[0]

  value, gradient = jax.value_and_grad(ours)(logits)
  want, want_gradient = jax.value_and_grad(plain)(logits)
  assert float(value) == pytest.approx(float(want), rel=1e-6)
  assert gradient.dtype == dtype
  gradient, want_gradient = (
    np.asarray(x, np.float32) for x in (gradient, want_gradient)
  )
  np.testing.assert_allclose(gradient, want_gradient, rtol=1e-5, atol=1e-6)
  assert not gradient[weights == 0].any()


def test_a_token_is_hit_where_its_logit_is_above_all_others():
  """Where logits tie, the first of them too is missed; and beside a nan."""
  random = np.random.default_rng(0)
  logits = random.normal(size=(5, 7, 30)).astype(np.float32)
  targets = random.integers(0, 3, (5, 7))
  logits[:, :, :3] += 2  # so that some are hit
  weights = random.uniform(size=(5, 7)) * (random.uniform(size=(5, 7)) < 0.7)
  hits = logits.argmax(-1) == targets
  assert 0 < hits.sum() < hits.size
  _, found = losses.token_scores(logits, targets, weights)
  assert float(found) == pytest.approx((hits * weights).sum(), rel=1e-6)
  for row, label in (([5, 5, 1], 0), ([5, 5, 1], 1), ([0, 0, 0], 0)):
    assert not _hits([row], [label])
  for label in (0, 1):
    assert not _hits([[np.nan, 2.0]], [label])
  assert _hits([[-np.inf, 2.0]], [1])


def _hits(logits, labels) -> float:
  one = np.ones((1, len(labels)))
  return losses.token_scores(np.array([logits]), np.array([labels]), one)[1]


def test_matching():
  logits = np.array([[0.0, 2], [1, 0], [0, 0]])
  matched = np.array([True, False, True])
  total = losses.match_nll(logits, matched, np.ones(3))
  assert float(total) / 3 == pytest.approx(0.3777790, abs=1e-6)
  for row, expected in enumerate((0.126928, 0.313262, 0.693147)):
    total = losses.match_nll(logits, matched, np.eye(3)[row])
    assert float(total) == pytest.approx(expected, abs=1e-6)


def test_pixel_error_of_one_patch():
  predicted = np.array([[[0.0, 1, 2, 3]]])
  total = losses.pixel_error(predicted, np.zeros((1, 1, 4)), np.ones((1, 1)))
  assert float(total) == pytest.approx(3.5)


def test_pixel_error_is_a_mean_over_patches_not_over_images():
  errors = np.array([[4.0, 0, 0], [1, 1, 1]])
  predicted = np.sqrt(errors)[..., None] * np.ones(5)
  weights = np.array([[1.0, 0, 0], [1, 1, 1]])
  total = losses.pixel_error(predicted, np.zeros((2, 3, 5)), weights)
  assert float(total) / weights.sum() == pytest.approx(1.75)


def test_what_does_not_count_may_be_anything():
  logits = LOGITS.copy()
  logits[0, 1] = np.inf
  assert np.isfinite(losses.token_scores(logits, LABELS, MASKED)[0])
  pixels = np.full((1, 2, 3), np.nan)
  pixels[0, 0] = 0
  weights = np.array([[1.0, 0]])
  assert np.isfinite(losses.pixel_error(pixels, np.zeros((1, 2, 3)), weights))


def test_standardised_patches_and_their_floor():
  white = np.ones(27)
  noisy = white.copy()
  noisy[0] -= 1 / 127.5  # one grey level
  patch = np.random.default_rng(0).uniform(-1, 1, 27)
  out = np.asarray(losses.standardise_patches(np.stack([white, noisy, patch])))
  np.testing.assert_allclose(out[0], 0, atol=1e-6)
  assert np.abs(out[1]).max() < 0.5
  assert out[2].mean() == pytest.approx(0, abs=1e-6)
  assert out[2].var() == pytest.approx(1, abs=1e-5)


def test_the_chance_level_of_tokens_by_hand():
  # Place 0: 5, 5, 6, 6 (ln 2); place 1: 7, 7 and [SEP]s that don't count (0).
  words = np.array([[5, 7, 3], [5, 7, 3], [6, 3, 0], [6, 3, 0]])
  # Entropies weighted by words, with (m - 1) / 2n added at place 0.
  expected = (4 * (math.log(2) + 1 / 8) + 2 * 0.0) / 6
  assert chance.token_chance(words, tiny.SPECIAL) == pytest.approx(expected)


def test_the_chance_level_of_pixels_is_the_error_of_the_mean_on_new_images():
  rng = np.random.default_rng(0)
  spread = np.array([[1.0, 2], [3, 0]])  # two patches of two pixels
  old = rng.normal(size=(500, 2, 2)) * spread
  new = rng.normal(size=(20_000, 2, 2)) * spread
  error = ((new - old.mean(0)) ** 2).mean()
  assert chance.pixel_chance(old) == pytest.approx(error, rel=0.1)
  assert chance.pixel_chance(old) == pytest.approx(14 / 4, rel=0.1)
