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
  attempt,
  best_of,
  fit,
)


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
