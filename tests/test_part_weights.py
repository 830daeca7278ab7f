"""Laws of the weights of an embedding's parts that validation chooses."""

import json
import logging

import jax
import numpy as np
import pytest
import tiny_run

from item_jax.data.records import open_dataset
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.transform import Transform
from item_jax.evaluation.trials import Trial, held_apart, likeliest
from item_jax.evaluation.weighting import (
  attempt_weights,
  choose_weights,
  with_absent,
)
from item_jax.files import read_checksummed
from item_jax.inference import part_weigher
from item_jax.inference.embedder import load
from item_jax.inference.validation import scored_rows
from item_jax.training.loop import train
from item_jax.training.restore import restore

CHOSEN = (0.0, 0.7, 0.3)  # of [CLS], the image and the title


def sided(data):
  config = tiny_run.get_config("products")
  config.data.path, config.model.sides = str(data), 8
  return config


def chosen_by(monkeypatch, weights):
  """Lets validation choose these weights, whatever it finds."""
  monkeypatch.setattr(
    part_weigher,
    "choose_weights",
    lambda *args, given=None, **how: weights or given,
  )


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    chosen_by(patch, CHOSEN)
    return train(sided(tiny_data), tmp_path_factory.mktemp("w") / "run")


def test_an_opened_checkpoint_has_the_weights_that_validation_chose(run):
  model = load(run.workdir, step=4)
  shares_P = np.asarray(jax.nn.softmax(model.params["sides"]["shares"]))
  np.testing.assert_allclose(shares_P, CHOSEN, atol=1e-6)
  trained_P = restore(run.workdir, step=4).params["sides"]["shares"]
  assert np.isfinite(trained_P).all()  # a run that goes on has its own
  assert np.abs(jax.nn.softmax(trained_P) - shares_P).max() > 0.05


def test_what_was_measured_is_what_the_opened_checkpoint_finds(run, tiny_data):
  store = open_dataset(tiny_data)
  rows, ids, products, _ = scored_rows(store.source("val"), "val", alone=True)
  model = load(run.workdir, step=4)
  for modality in ("both", "image", "title"):
    vectors_ND = model.embed_split(store, "val", modality=modality)[rows]
    found = retrieval.score(vectors_ND, Items(ids, products), bootstrap=0)
    measured = run.metrics[f"{modality}/map@10"]
    assert found.summary["map@10"] == pytest.approx(measured, abs=1e-6)


def test_the_weights_are_among_what_was_measured(run):
  manifest = run.workdir / "checkpoints" / "4" / "manifest.json"
  named = dict(
    zip(
      ("weight/cls", "weight/appearance", "weight/title"), CHOSEN, strict=True
    )
  )
  assert named.items() <= read_checksummed(manifest)["metrics"].items()
  lines = (run.workdir / "metrics.jsonl").read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if row["kind"] == "eval"]
  assert rows
  assert all(named.items() <= row.items() for row in rows)


def test_training_goes_on_as_if_nothing_were_chosen(
  run, tiny_data, tmp_path, monkeypatch
):
  chosen_by(monkeypatch, None)
  plain = train(sided(tiny_data), tmp_path / "run")
  assert not any(name.startswith("weight/") for name in plain.metrics)
  ours, theirs = (restore(r.workdir, step=4).params for r in (run, plain))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_that_starts_from_one_has_what_was_trained(
  run, tiny_data, tmp_path
):
  config = sided(tiny_data)
  config.start_from, config.steps = str(run.workdir), 0
  begun = restore(train(config, tmp_path / "run").workdir).params["sides"]
  trained = restore(run.workdir).params["sides"]
  np.testing.assert_array_equal(begun["shares"], trained["shares"])


def test_a_row_without_image_and_title_stays_the_null_embedding(run):
  model = load(run.workdir)
  (row_D,) = model.embed(images=[None], titles=[None])
  np.testing.assert_allclose(row_D, -(model.dims**-0.5), rtol=1e-6)


def lonely(monkeypatch):
  """Leaves no two rows of validation of one product."""

  def each_its_own(source, split, **how):
    rows, ids, _, categories = scored_rows(source, split, **how)
    return rows, ids, list(ids), categories

  monkeypatch.setattr(part_weigher, "scored_rows", each_its_own)


def test_nothing_is_chosen_without_two_listings_of_a_product(
  tiny_data, tmp_path, monkeypatch, caplog
):
  lonely(monkeypatch)
  with caplog.at_level(logging.INFO):
    run = train(sided(tiny_data), tmp_path / "run")
  assert "'val' has 0 products of two listings or more" in caplog.text
  assert "both/map@10" in run.metrics
  assert not any(name.startswith("weight/") for name in run.metrics)


@pytest.mark.parametrize("gain", [True, False])
def test_an_untrained_cls_weighs_nothing_unless_it_is_shown_to_help(
  tiny_data, tmp_path, monkeypatch, gain
):
  chosen_by(monkeypatch, (0.2, 0.4, 0.4) if gain else None)
  config = sided(tiny_data)
  config.steps = 0  # its start is measured
  metrics = train(config, tmp_path / "run").metrics
  found = [metrics[f"weight/{n}"] for n in ("cls", "appearance", "title")]
  np.testing.assert_allclose(found, (0.2, 0.4, 0.4) if gain else (0, 0.5, 0.5))
  model = load(tmp_path / "run", step=0)
  shares_P = np.asarray(jax.nn.softmax(model.params["sides"]["shares"]))
  np.testing.assert_allclose(shares_P, found, atol=1e-6)


def test_an_untrained_cls_weighs_nothing_where_nothing_can_be_chosen(
  tiny_data, tmp_path, monkeypatch
):
  config = sided(tiny_data)
  config.steps = 0
  lonely(monkeypatch)
  metrics = train(config, tmp_path / "run").metrics
  assert metrics["weight/cls"] == 0


def test_what_a_run_starts_from_has_a_trained_cls(
  run, tiny_data, tmp_path, monkeypatch
):
  chosen_by(monkeypatch, None)
  config = sided(tiny_data)
  config.start_from, config.steps = str(run.workdir), 0
  metrics = train(config, tmp_path / "run").metrics
  assert not any(name.startswith("weight/") for name in metrics)


def of_pairs(products):
  rows = range(2 * products)
  return Items([f"{n:02d}" for n in rows], [f"{n // 2}" for n in rows])


def parts_of(seed, telling):
  """60 rows of 30 products: parts of 4, 3 and 3 values, one telling."""
  draw = np.random.default_rng(seed)
  parts = []
  for number, width in enumerate((4, 3, 3)):
    part = draw.normal(size=(60, width))
    if number == telling:
      part = part[np.arange(60) // 2 * 2] + 0.05 * part
    parts.append(part / np.linalg.norm(part, axis=1, keepdims=True))
  return np.concatenate(parts, axis=1)


def test_weights_go_to_the_part_that_tells():
  items, widths = of_pairs(30), (4, 3, 3)
  telling_ND = parts_of(0, telling=2)
  shares = choose_weights(telling_ND, items, widths)
  assert shares is not None
  assert shares[2] > 0.6
  given = choose_weights(telling_ND, items, widths, given=(0.0, 0.8, 0.2))
  assert given == shares
  assert choose_weights(telling_ND, items, widths, given=shares) == shares


def test_weights_that_rows_have_already_are_not_chosen():
  """Scaled to them again a vector differs by rounding alone."""
  items, widths = of_pairs(60), (8, 8, 8)
  draw = np.random.default_rng(3)
  shown_NK = np.repeat(draw.normal(size=(60, 24)), 2, axis=0)
  shown_NK += draw.normal(size=shown_NK.shape)
  parts = np.split(shown_NK, 3, axis=1)
  vectors_ND = np.concatenate(
    [x / np.linalg.norm(x, axis=1, keepdims=True) for x in parts], axis=1
  )
  best = attempt_weights(vectors_ND, items, widths)[0].transform
  held_ND = best.apply(vectors_ND)
  assert choose_weights(held_ND, items, widths) is None


@pytest.mark.parametrize("given", [None, (0.0, 0.8, 0.2)])
def test_by_few_products_nothing_is_chosen(given):
  few_ND = parts_of(0, telling=2)[:38]
  assert choose_weights(few_ND, of_pairs(19), (4, 3, 3), given=given) == given


def test_what_no_row_of_validation_has_keeps_its_weight():
  """It would count for listings that have the side; the others are chosen."""
  images_ND, given = parts_of(0, telling=0), (0.2, 0.3, 0.5)
  images_ND[:, -3:] = 0
  shares = choose_weights(images_ND, of_pairs(30), (4, 3, 3), given=given)
  assert shares is not None
  assert shares[0] > 0.6
  assert shares[2] == 0
  kept = with_absent(shares, given)
  assert kept[2] == 0.5
  np.testing.assert_allclose(kept[:2], np.multiply(shares[:2], 0.5))


def test_weights_of_before_stay_for_a_side_that_no_row_has():
  chosen, trained = (0.2, 0.8, 0.0), (0.1, 0.4, 0.5)
  np.testing.assert_allclose(with_absent(chosen, trained), (0.1, 0.4, 0.5))
  np.testing.assert_allclose(with_absent((0, 1, 0), trained), (0, 0.5, 0.5))
  assert with_absent(trained, trained) == trained


def test_where_all_find_all_weights_go_to_what_holds_products_apart():
  """Two parts tell all: of one, products are at right angles, of one nearer."""
  far_PD = np.repeat(np.eye(30), 2, axis=0)
  near_PD = far_PD + 0.3
  near_PD /= np.linalg.norm(near_PD, axis=1, keepdims=True)
  noise_PD = parts_of(1, telling=None)[:, :4]
  vectors_ND = np.concatenate([noise_PD, near_PD, far_PD], axis=1)
  shares = choose_weights(vectors_ND, of_pairs(30), (4, 30, 30))
  assert shares == (0, 0.02, 0.98)


def trial(found_P, apart_P):
  """Of pairs: MAP@10 of the queries of each product, and how far apart."""
  count = len(found_P)
  rows_Q, zeros_Q = np.arange(2 * count), np.zeros(2 * count)
  near_QK = np.stack([rows_Q ^ 1, (rows_Q + 2) % (2 * count)], axis=1)
  cosine_QK = np.stack([np.repeat(apart_P, 2), zeros_Q], axis=1)
  scores = retrieval.Scores(
    {},
    {"map@10": np.repeat(found_P, 2)},
    rows_Q,
    zeros_Q + 1,
    near_QK,
    cosine_QK,
    of_pairs(count),
  )
  return Trial(Transform(), 1, scores)


def test_a_gain_must_be_there_on_other_products():
  """Of twenty, by their numbers, and how much more the second trial finds."""
  even_P = np.arange(20) % 2 == 0
  first = trial(np.full(20, 0.5), np.zeros(20))
  both, one = np.full(20, 0.6), np.where(even_P, 0.9, 0.4)
  assert likeliest([first, trial(both, np.zeros(20))]) == 1
  # Chosen by the even ones, the odd ones lose .1; these choose the first.
  assert one.mean() > both.mean()
  assert likeliest([first, trial(one, np.zeros(20))]) == 0
  assert likeliest([first, trial(np.full(20, 0.5), np.full(20, 0.1))]) == 1
  assert likeliest([first, trial(np.full(20, 0.5), np.full(20, -0.1))]) == 0
  # Where others are nearer, less of it is no gain.
  near = trial(np.full(20, 0.5), np.full(20, -0.2))
  assert likeliest([near, trial(np.full(20, 0.5), np.full(20, -0.1))]) == 0
  # Less than float32's rounding is no difference.
  assert likeliest([first, trial(np.full(20, 0.5), np.full(20, 1e-6))]) == 0
  # A cosine counts half of what is found.
  assert likeliest([first, trial(np.full(20, 0.4), np.full(20, 0.19))]) == 0
  assert likeliest([first, trial(np.full(20, 0.4), np.full(20, 0.21))]) == 1


def test_how_far_products_are_held_apart():
  """Products of rows: a a a b b c, of no other c. By hand."""
  items = Items(list("012345"), list("aaabbc"))
  near_QK = np.array([[1, 3, 2], [0, 2, 3], [3, 4, 5], [4, -1, -1]])
  cosine_QK = np.array(
    [[0.9, 0.8, 0.3], [0.9, 0.7, 0.2], [0.6, 0.5, 0.1], [0.4, -np.inf, -np.inf]]
  )
  scores = retrieval.Scores(
    {},
    {},
    np.array([0, 1, 2, 3]),
    np.array([2, 2, 2, 1]),
    near_QK,
    cosine_QK.astype(np.float32),
    items,
  )
  # The third finds neither of its two: both are beyond .1, the last listed. The
  # fourth lists no other product.
  expected_Q = [0.3 - 0.8, 0.7 - 0.2, 0.1 - 0.6, 0]
  np.testing.assert_allclose(held_apart(scores), expected_Q, atol=1e-6)
