"""Weights of a vector's parts: what they mean, and what validation takes."""

import numpy as np
import pytest

from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import score
from item_jax.evaluation.trials import worth
from item_jax.evaluation.weighting import attempt_weights, grid

WIDTHS = 4, 3, 3
LENGTHS = 0.2, 0.5, 0.7  # of the parts, as a network may have left them
PRODUCTS = [f"P{row // 2}" for row in range(60)]
LISTED = Items([f"L{row:02d}" for row in range(60)], PRODUCTS)


def unit(x):
  length = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.where(length > 0, length, 1)


def parts(*, telling: set[int], seed: int = 0) -> list[np.ndarray]:
  """Unit parts; those that are telling are nearly one product's."""
  draw = np.random.default_rng(seed)
  found = []
  for number, width in enumerate(WIDTHS):
    part = draw.normal(size=(60, width))
    if number in telling:
      part = part[np.arange(60) // 2 * 2] + 0.05 * part
    found.append(unit(part))
  return found


def vectors(made: list[np.ndarray]) -> np.ndarray:
  return np.concatenate(
    [length * part for length, part in zip(LENGTHS, made, strict=True)], axis=1
  )


def test_a_cosine_is_the_weighted_sum_of_the_parts():
  made = parts(telling={1, 2})
  trial = attempt_weights(vectors(made), LISTED, WIDTHS)[0]
  out_ND = trial.transform.apply(vectors(made))
  shares = trial.transform.shares
  expected = sum(
    share * part @ part.T for share, part in zip(shares, made, strict=True)
  )
  np.testing.assert_allclose(out_ND @ out_ND.T, expected, atol=1e-6)


def test_a_part_that_a_row_has_not_is_left_out_of_its_cosines():
  made = parts(telling={1, 2})
  made[1][7] = 0
  transform = attempt_weights(vectors(made), LISTED, WIDTHS)[0].transform
  out_ND = transform.apply(vectors(made))
  shares = transform.shares
  cls, title = (shares[n] * made[n][7] @ made[n][8] for n in (0, 2))
  expected = (cls + title) / np.sqrt(shares[0] + shares[2])
  np.testing.assert_allclose(out_ND[7] @ out_ND[8], expected, atol=1e-6)


@pytest.mark.parametrize("telling", [0, 1, 2])
def test_the_part_that_tells_products_apart_gets_the_most(telling):
  made = vectors(parts(telling={telling}))
  trial = attempt_weights(made, LISTED, WIDTHS)[0]
  shares = trial.transform.shares
  assert max(shares) == shares[telling]
  assert sum(shares) == pytest.approx(1)
  assert shares[1] > 0 < shares[2]  # or a row of that part alone had nothing
  plain = score(made, LISTED, bootstrap=0).summary["map@10"]
  assert trial.scores.summary["map@10"] > plain


@pytest.mark.parametrize("seed", range(3))
def test_no_move_of_a_tenth_finds_more(seed):
  made = parts(telling={1}, seed=seed)
  trial = attempt_weights(vectors(made), LISTED, WIDTHS)[0]
  best, taken = trial.scores.summary["map@10"], trial.transform.shares
  for shares in grid(3):
    apart = np.abs(np.subtract(shares, taken)).sum()
    if all(shares[1:]) and apart < 0.21:
      pairs = zip(shares, made, strict=True)
      weighted_ND = np.concatenate([s**0.5 * part for s, part in pairs], 1)
      found = score(weighted_ND, LISTED, bootstrap=0)
      assert found.summary["map@10"] <= best


@pytest.mark.parametrize("missing", [1, 2])
def test_a_part_that_no_row_has_counts_nothing(missing):
  """Of images alone the title's part is zeros in all rows."""
  made = parts(telling={3 - missing})
  made[missing][:] = 0
  tried = attempt_weights(vectors(made), LISTED, WIDTHS)
  assert {trial.transform.shares[missing] for trial in tried} == {0}
  out_ND, shares = (
    tried[0].transform.apply(vectors(made)),
    tried[0].transform.shares,
  )
  np.testing.assert_allclose(np.linalg.norm(out_ND, axis=1), 1, atol=1e-6)
  assert shares[3 - missing] > shares[0]
  assert tried[0].scores.summary["map@10"] > 0.9


def test_a_part_that_no_row_had_keeps_its_weight_in_rows_that_have_it():
  """As of `export --like` of images alone, for rows of image and title."""
  made = parts(telling={1})
  without = [*made[:2], np.zeros_like(made[2])]
  transform = attempt_weights(vectors(without), LISTED, WIDTHS)[0].transform
  ends = np.cumsum(WIDTHS)[:-1]
  out_PN = [
    (part**2).sum(axis=1)
    for part in np.split(transform.apply(vectors(made)), ends, axis=1)
  ]
  kept = LENGTHS[2] ** 2 / np.square(LENGTHS).sum()
  expected_P = np.array(transform.shares) * (1 - kept) + [0, 0, kept]
  np.testing.assert_allclose(
    out_PN, np.outer(expected_P, np.ones(60)), atol=1e-6
  )


def test_a_first_part_of_zeros_weighs_nothing():
  """What is said of weights is what counts: [CLS] may weigh 0 already."""
  made = parts(telling={1})
  made[0][:] = 0
  tried = attempt_weights(vectors(made), LISTED, WIDTHS)
  assert {trial.transform.shares[0] for trial in tried} == {0}
  shares = tried[0].transform.shares
  out_ND = tried[0].transform.apply(vectors(made))
  part = made[1] @ made[1].T * shares[1] + made[2] @ made[2].T * shares[2]
  np.testing.assert_allclose(out_ND @ out_ND.T, part, atol=1e-6)


def test_it_is_kept_in_a_file_and_refuses_other_widths(tmp_path):
  made = vectors(parts(telling={2}))
  transform = attempt_weights(made, LISTED, WIDTHS)[0].transform
  hashed = transform.save(tmp_path / "t.npz")
  again = transform_lib.load(tmp_path / "t.npz", hashed)
  np.testing.assert_array_equal(again.apply(made), transform.apply(made))
  assert str(again) == str(transform)
  assert str(again).startswith("parts weighted ")
  with pytest.raises(UserError, match=r"9 values, .* learnt from 10"):
    again.apply(made[:, 1:])


@pytest.mark.parametrize(
  ("telling", "expected"), [(1, (0, 0.999, 0.001)), (2, (0, 0.02, 0.98))]
)
def test_what_costs_has_little_and_a_title_least(telling, expected):
  """The others tell nothing; of no listing may they be all."""
  made = parts(telling={telling})
  best = attempt_weights(vectors(made), LISTED, WIDTHS)[0].transform.shares
  assert best == expected


@pytest.mark.parametrize("seed", range(8))
def test_of_two_parts_all_tenths_are_tried(seed):
  """A climb from even weights may end below the highest."""
  made = parts(telling=set(), seed=seed)
  made[2][:] = 0
  best = attempt_weights(vectors(made), LISTED, WIDTHS)[0]
  for tenths in range(10):
    shares = tenths / 10, 1 - tenths / 10, 0
    pairs = zip(shares, made, strict=True)
    weighted_ND = np.concatenate([s**0.5 * part for s, part in pairs], 1)
    found = worth(score(weighted_ND, LISTED, bootstrap=0))
    assert found <= worth(best.scores) + 1e-5
