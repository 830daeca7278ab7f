"""Centring and whitening: what sklearn computes, chosen where it helps."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import score
from item_jax.evaluation.transform import (
  GRID,
  Recipe,
  Transform,
  fit,
)
from item_jax.evaluation.trials import Trial, attempt, best_of


def rows(count: int, width: int, *, seed: int = 0) -> np.ndarray:
  random = np.random.default_rng(seed)
  spread_D = np.logspace(0, -1.5, width)
  return random.normal(size=(count, width)) * spread_D + 0.3


def choose(*given, **options):
  """The transform that is taken, and what was tried."""
  trials = attempt(*given, **options)
  return trials[best_of(trials)].transform, [one.to_dict() for one in trials]


def cosines(vectors_ND: np.ndarray) -> np.ndarray:
  unit_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  return unit_ND @ unit_ND.T


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_without_a_ridge_it_is_sklearns(share):
  train_ND, other_ND = rows(300, 12), rows(40, 12, seed=1)
  ours = fit(train_ND, Recipe("whitened", share))
  unit_ND, unit_other_ND = (
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train_ND, other_ND)
  )
  theirs = PCA(int(12 * share), whiten=True).fit(unit_ND)
  np.testing.assert_allclose(
    cosines(ours.apply(other_ND)),
    cosines(theirs.transform(unit_other_ND)),
    atol=1e-4,
  )


def test_centred_by_hand():
  train_ND = np.array([[2.0, 0.0], [0.0, 3.0]])  # mean of unit rows: .5, .5
  got_ND = fit(train_ND, Recipe("centred")).apply(np.array([[5.0, 0.0]]))
  np.testing.assert_allclose(got_ND, [[0.5**0.5, -(0.5**0.5)]], rtol=1e-6)


def test_the_ridge_by_hand():
  # Variances .75, .25 and a ridge of 1 x .5: divided by sqrt(1.25), sqrt(.75).
  a, b = 0.75**0.5, 0.25**0.5
  train_ND = np.array([[a, b], [-a, b], [a, -b], [-a, -b]])
  got_ND = fit(train_ND, Recipe("whitened", ridge=1.0)).apply(train_ND[:1])
  want_D = np.array([a / 1.25**0.5, b / 0.75**0.5])
  np.testing.assert_allclose(
    np.abs(got_ND[0]), want_D / np.linalg.norm(want_D), rtol=1e-5
  )


@pytest.mark.parametrize("recipe", GRID)
def test_a_missing_row_stays_and_is_not_learnt_from(recipe):
  train_ND = rows(50, 8)
  holes_ND = np.concatenate([np.zeros((30, 8)), train_ND])
  plain, holed = fit(train_ND, recipe), fit(holes_ND, recipe)
  got_NE = holed.apply(holes_ND)
  assert got_NE.dtype == np.float32
  assert not got_NE[:30].any()
  np.testing.assert_allclose(np.linalg.norm(got_NE[30:], axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(
    cosines(got_NE[30:]), cosines(plain.apply(train_ND)), atol=1e-5
  )


@pytest.mark.parametrize("recipe", GRID)
def test_fewer_rows_than_values(recipe):
  got_NE = fit(rows(3, 8), recipe).apply(rows(20, 8, seed=1))
  assert got_NE.shape == (20, max(1, int(8 * recipe.share)))
  np.testing.assert_allclose(np.linalg.norm(got_NE, axis=1), 1, rtol=1e-5)


def test_rows_all_alike_are_not_whitened():
  got = fit(np.ones((5, 4)), Recipe("whitened", ridge=0.1))
  assert np.isfinite(got.apply(rows(3, 4))).all()


def products(seed: int) -> tuple[np.ndarray, Items]:
  """Pairs of a product: alike in short directions, drowned by a long one."""
  random = np.random.default_rng(seed)
  own_PD = np.repeat(random.normal(size=(60, 12)), 2, axis=0)
  loud_N1 = random.normal(size=(120, 1)) * 8
  vectors_ND = np.concatenate([loud_N1, own_PD], axis=1) + 2
  ids = [f"i{row}" for row in range(120)]
  return vectors_ND, Items(ids, [f"p{row // 2}" for row in range(120)])


def test_whitening_is_chosen_where_a_direction_drowns_the_others():
  (train_ND, _), (val_ND, items) = products(0), products(1)
  chosen, tried = choose(train_ND, val_ND, items)
  assert len(tried) == len(GRID)
  assert chosen.kind == "whitened"
  best = max(tried, key=lambda one: one["map@10"])
  assert (chosen.kind, chosen.dims(13), chosen.ridge) == (
    best["kind"],
    best["dims"],
    best["ridge"],
  )
  assert best["map@10"] > tried[0]["map@10"] + 0.1
  # What is said of the chosen one is what it scores.
  again = score(chosen.apply(val_ND), items, bootstrap=0)
  assert again.summary["map@10"] == best["map@10"]


def test_what_is_found_anyway_is_left_as_it_is():
  """Each row equals its twin: everything finds it, so nothing is changed."""
  vectors_ND = np.repeat(np.eye(6), 2, axis=0)
  items = Items([f"i{r}" for r in range(12)], [f"p{r // 2}" for r in range(12)])
  chosen, tried = choose(vectors_ND, vectors_ND, items, recipes=GRID[:4])
  assert {one["map@10"] for one in tried} == {1.0}
  assert chosen.kind == "none"


def test_what_may_be_chance_is_not_chosen():
  """Vectors without a long direction: what looks better is luck."""
  random = np.random.default_rng(0)

  def pairs():
    own_ND = np.repeat(random.normal(size=(300, 12)), 2, axis=0)
    return own_ND + random.normal(size=(600, 12))

  ids = [f"i{row}" for row in range(600)]
  items = Items(ids, [f"p{row // 2}" for row in range(600)])
  chosen, tried = choose(pairs(), pairs(), items)
  assert max(one["map@10"] for one in tried) > tried[0]["map@10"]
  assert chosen.kind == "none"


def test_a_missing_row_of_validation_is_scored_as_nothing():
  (train_ND, _), (val_ND, items) = products(0), products(1)
  val_ND[:4] = 0
  _, tried = choose(train_ND, val_ND, items, recipes=GRID[:3])
  assert all(0 < one["map@10"] < 1 for one in tried)


def test_without_anything_to_learn_from_vectors_stay_as_they_are():
  """As images of a catalogue in which no listing of training has one."""
  val_ND, items = products(1)
  (tried,) = attempt(np.zeros_like(val_ND), val_ND, items)
  assert str(tried.transform) == "as it is"
  with pytest.raises(UserError, match=r"none of .* training rows"):
    attempt(np.zeros_like(val_ND), val_ND, items, recipes=GRID[1:])


@pytest.mark.parametrize("recipe", [GRID[0], GRID[1], GRID[-1]])
def test_what_was_saved_comes_back(tmp_path, recipe):
  sides = {"image": np.arange(8, dtype=np.float32)}
  made = replace(fit(rows(50, 8), recipe), sides=sides)
  hashed = made.save(tmp_path / "t.npz")
  found = transform_lib.load(tmp_path / "t.npz", hashed)
  assert (found.kind, found.ridge, str(found)) == (
    made.kind,
    made.ridge,
    str(made),
  )
  np.testing.assert_array_equal(found.sides["image"], sides["image"])
  other_ND = rows(5, 8, seed=1)
  np.testing.assert_array_equal(found.apply(other_ND), made.apply(other_ND))
  with pytest.raises(UserError, match=r"t\.npz was altered"):
    transform_lib.load(tmp_path / "t.npz", "0" * 64)


def test_what_cannot_be_transformed_is_refused():
  with pytest.raises(UserError, match=r"7 values, .* learnt from 8"):
    fit(rows(50, 8), GRID[1]).apply(rows(5, 7))
  with pytest.raises(UserError, match="none of 3 training rows"):
    fit(np.zeros((3, 8)), GRID[1])
  assert str(Transform()) == "as it is"
  assert str(fit(rows(50, 8), GRID[-1])) == "whitened to 2 dims, ridge 0.001"


def test_rows_of_any_length_become_unit_rows():
  rows_ND = np.array([[3.0, 4.0], [0.0, 0.0]])
  want_ND = [[0.6, 0.8], [0, 0]]
  for factor in (1e-25, 1.0, 1e20):
    got_ND = transform_lib.unit(factor * rows_ND)
    np.testing.assert_allclose(got_ND, want_ND, rtol=1e-6)


def test_a_spectrum_does_not_hang_on_its_blocks(monkeypatch):
  train_ND = rows(100, 8)
  train_ND[::7] = 0
  whole = transform_lib.measure(train_ND)
  monkeypatch.setattr(transform_lib, "_ROWS", 9)
  blocks = transform_lib.measure(train_ND)
  np.testing.assert_allclose(blocks.mean_D, whole.mean_D, rtol=1e-9)
  np.testing.assert_allclose(blocks.variance_D, whole.variance_D, rtol=1e-9)
  unit_ND = transform_lib.unit(train_ND[train_ND.any(axis=1)])
  covariance_DD = np.cov(unit_ND.T.astype(np.float64), bias=True)
  np.testing.assert_allclose(
    whole.variance_D[::-1], np.linalg.eigvalsh(covariance_DD), rtol=1e-6
  )


def test_a_row_of_another_kind_has_its_own_mean_taken_off():
  mean_D, image_D = np.array([0.5, 0.5]), np.array([0.6, 0.0])
  made = Transform("centred", mean_D, sides={"image": image_D})
  rows_ND = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
  got_ND = made.apply(rows_ND, ["image", "both", "image"])
  want_ND = [[1, 0], [0.5**0.5, -(0.5**0.5)], [0, 0]]
  np.testing.assert_allclose(got_ND, want_ND, rtol=1e-6)


def two_kinds(count, *, seed):
  """Pairs of a product: the first of image and title, the second of one.

  What one side alone shows lies far from the rest, and what tells products
  apart is small beside that.
  """
  random = np.random.default_rng(seed)
  own_PD = 0.1 * random.normal(size=(count, 12))
  vectors_ND = np.repeat(own_PD, 2, axis=0)
  vectors_ND[1::2, 0] += 3
  vectors_ND[::2, 1] += 3
  return vectors_ND, ["both", "image"] * count


def test_what_is_tried_is_what_is_exported():
  """Of rows of two kinds: each is centred by its own mean, here and there."""
  (train_ND, kinds), (val_ND, _) = two_kinds(60, seed=0), two_kinds(60, seed=1)
  unit_ND = transform_lib.unit(train_ND)
  sides = {"both": unit_ND[::2].mean(0), "image": unit_ND[1::2].mean(0)}
  ids = [f"L{row}" for row in range(len(val_ND))]
  items = Items(ids, [f"P{row // 2}" for row in range(len(val_ND))])
  trials = attempt(train_ND, val_ND, items, sides=sides, kind_N=kinds)
  plain, centred = (trial.scores.summary["map@10"] for trial in trials[:2])
  assert centred > plain + 0.5
  made_ND = trials[1].transform.apply(val_ND, kinds)
  assert score(made_ND, items, bootstrap=0).summary["map@10"] == centred


def random_trials(products, *, seed):
  """What is tried: forty vectors, none of which is better than another."""
  random, count = np.random.default_rng(seed), 200
  pairs = [f"P{row // 2}" if row < 2 * products else "" for row in range(count)]
  items = Items([f"L{row}" for row in range(count)], pairs)
  return [
    Trial(
      Transform(), 6, score(random.normal(size=(count, 6)), items, bootstrap=0)
    )
    for _ in range(40)
  ]


@pytest.mark.parametrize("products", [1, 5, 20, 60])
def test_the_best_of_many_by_chance_is_not_taken(products):
  """At most a fortieth of the draws should; of 20 more than two is unlikely."""
  taken = [
    best_of(random_trials(products, seed=seed)) != 0 for seed in range(20)
  ]
  assert sum(taken) <= 2
