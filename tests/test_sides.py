"""Laws of the vectors of image and title that pass the transformer by."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_run
from sklearn.feature_extraction.text import TfidfTransformer

from item_jax.config_check import validate
from item_jax.data.records import open_dataset
from item_jax.distributed.preemption import Preempted
from item_jax.errors import UserError
from item_jax.evaluation.transform import Transform
from item_jax.files import RUN_FILE, read_checksummed, write_checksummed
from item_jax.inference import modality
from item_jax.inference.embedder import load
from item_jax.inference.information import cosine_shares
from item_jax.inference.space import Space
from item_jax.models.sides import Sides, channels, image_features
from item_jax.models.stem import Stem
from item_jax.objectives import samples
from item_jax.training import fit_sides
from item_jax.training.evaluators import Evaluators
from item_jax.training.init_from import follow_start
from item_jax.training.loop import train
from item_jax.training.restore import restore

SHOWN = "image", "title"
B, D, C, V, T, W = 5, 6, 12, 20, 4, 8
K = 11  # values of a place's colours and outlines
MODULE = Sides(width=W, channels={"image": C}, vocab_size=V, cls_share=0.6)


@pytest.fixture
def inputs():
  draw = np.random.default_rng(0)
  g_BD = draw.normal(size=(B, D)).astype(np.float32)
  image_BC = draw.uniform(size=(B, C)).astype(np.float32)
  tokens_BT = draw.integers(3, V, size=(B, T))
  return g_BD, {"image": image_BC}, tokens_BT, np.ones((B, T), bool)


@pytest.fixture
def params(inputs):
  made = MODULE.init(jax.random.key(1), *inputs)["params"]
  return jax.tree.map(np.asarray, made)


def apply(params, *inputs):
  return np.asarray(MODULE.apply({"params": params}, *inputs))


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_a_cosine_is_the_shares_of_three_cosines(params, inputs):
  g_BD, images, tokens_BT, _ = inputs
  out = apply(params, *inputs)
  image = unit(unit(images["image"]) @ params["image_kernel"])
  title = unit(params["word"][tokens_BT].sum(1))
  expected = sum(
    share * (part @ part.T)
    for share, part in zip(
      (0.6, 0.2, 0.2), (unit(g_BD), image, title), strict=True
    )
  )
  np.testing.assert_allclose(out @ out.T, expected, atol=1e-5)


def test_a_missing_side_has_no_part_in_a_cosine(params, inputs):
  g_BD, images, tokens_BT, real_BT = inputs
  none = {"image": 0 * images["image"]}
  whole = apply(params, *inputs)
  no_image = apply(params, g_BD, none, tokens_BT, real_BT)
  no_title = apply(params, g_BD, images, tokens_BT, ~real_BT)
  assert not no_image[:, D : D + W].any()
  np.testing.assert_array_equal(no_image[:, D + W :], whole[:, D + W :])
  assert not no_title[:, D + W :].any()
  np.testing.assert_array_equal(no_title[:, : D + W], whole[:, : D + W])


def test_gradients_are_finite_where_a_side_is_missing(params, inputs):
  g_BD, images, tokens_BT, real_BT = inputs
  none = {"image": 0 * images["image"]}

  def loss(params):
    out = MODULE.apply({"params": params}, g_BD, none, tokens_BT, ~real_BT)
    return (out @ out.T).sum()

  gradients = jax.grad(loss)(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_rarity_is_the_idf_of_sklearn():
  tokens_NT = np.array([[3, 4, 4, 2], [3, 5, 2, 0], [6, 2, 0, 0]])
  rarity_V = fit_sides.rarity(tokens_NT, V, special=(0, 1, 2))
  weight_V = np.asarray(jax.nn.softplus(jnp.asarray(rarity_V)))
  counts_NV = np.zeros((3, V))
  for row, tokens_T in enumerate(tokens_NT):
    counts_NV[row, tokens_T] = 1
  idf_V = TfidfTransformer().fit(counts_NV).idf_
  np.testing.assert_allclose(weight_V[3:], idf_V[3:], rtol=1e-5)
  assert weight_V[:3].max() < 1e-9  # what is no word has no weight


def test_whitening_brings_strong_directions_to_one_length():
  draw = np.random.default_rng(2)
  rows = draw.normal(size=(4_000, C)) * np.linspace(40, 20, C) + 5
  mean_C, kernel_CW = fit_sides.whitening(rows, W)
  out = (unit(rows) - mean_C) @ kernel_CW
  np.testing.assert_allclose(out.mean(0), 0, atol=1e-6)
  covariance = np.cov(out.T)
  variance = np.diag(covariance)
  np.testing.assert_allclose(covariance - np.diag(variance), 0, atol=1e-6)
  before = np.linalg.eigvalsh(np.cov(unit(rows).T))[::-1][:W]
  # v / (v + mean v), as a ridge of the mean variance leaves it.
  ridge = np.trace(np.cov(unit(rows).T)) / C
  np.testing.assert_allclose(variance * C, before / (before + ridge), rtol=2e-3)


def test_features_that_spread_are_mean_and_deviation_of_places_that_are_seen():
  draw = np.random.default_rng(0)
  grid_BHWC = draw.normal(1.0, 2.0, (3, 2, 2, C + K)).astype(np.float32)
  stem = Stem(
    *(None, lambda params, batch: jnp.asarray(grid_BHWC)),
    side=2,
    channels=C,
    cost=None,
    spread=True,
    seen=K,
  )
  batch = tiny.make_batch(3)._replace(has_image_B=np.array([True, True, False]))
  masked_BN = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
  found = image_features(stem, None, batch, masked_BN)["image"]
  assert channels(stem)["image"] == found.shape[1] == 2 * C
  for row, places in ((0, [0, 1, 2, 3]), (1, [0, 3])):
    seen_NC = grid_BHWC[row].reshape(4, -1)[places, :C]
    expected = np.concatenate([unit(seen_NC.mean(0)), unit(seen_NC.std(0))])
    np.testing.assert_allclose(found[row], expected, atol=1e-5)
  assert not found[2].any()


def test_fewer_features_than_width_leave_the_rest_zero():
  rows = np.random.default_rng(3).normal(size=(50, 4))
  _, kernel_CW = fit_sides.whitening(rows, W)
  assert kernel_CW.shape == (4, W)
  assert not kernel_CW[:, 4:].any()


@pytest.mark.parametrize("rows", [np.zeros((3, C)), np.ones((3, C))])
def test_rows_that_are_missing_or_all_the_same_have_nothing_to_whiten(rows):
  assert fit_sides.whitening(rows, W) is None


def test_titles_that_are_all_the_same_give_a_finite_start():
  rarity_V = fit_sides.rarity(np.full((2, T), 5), V, special=(0,))
  assert np.isfinite(rarity_V).all()


def test_a_run_without_images_has_a_side_for_images_to_come(
  tiny_data, tmp_path, monkeypatch
):
  """Or listings that do have an image would get the null embedding."""
  monkeypatch.setattr(fit_sides, "whitening", lambda image_NC, width: None)
  run = train(sided(tiny_data, optim__warmup=0), tmp_path / "run").workdir
  sides = load(run, step=0).params["sides"]
  assert np.asarray(sides["appearance_kernel"]).any(axis=0).all()


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
  """A run of a few steps with sides, taught by product ids."""
  config = sided(tiny_data)
  return train(config, tmp_path_factory.mktemp("sides") / "run").workdir


def sided(data, **changes):
  config = tiny_run.get_config("products")
  config.data.path = str(data)
  config.model.sides = W
  for name, value in changes.items():
    group, leaf = name.split("__")
    setattr(getattr(config, group), leaf, value)
  return config


def embedded(workdir, data, step, modality="both"):
  model = load(workdir, step=step)
  store = open_dataset(data)
  records = [store.source("train")[i] for i in range(12)]
  return model.embed(
    images=[r.image for r in records] if modality != "title" else None,
    titles=[r.title for r in records] if modality != "image" else None,
  )


def test_what_a_run_starts_from_is_learnt_from_its_data_and_kept(
  run, tiny_data
):
  found = restore(run, step=0)
  store = open_dataset(tiny_data)
  titles = samples.titles(store, "train", found.run.tokenizer, 12)
  ids = found.run.tokenizer.ids()
  piece_V = np.zeros(len(found.params["sides"]["rarity"]), bool)
  piece_V[[ids[token] for token in ids if token.startswith("##")]] = True
  assert piece_V[titles].any()
  counts_NV = np.zeros((len(titles), len(piece_V)))
  for row, tokens_T in enumerate(titles):
    goes_on_T = np.append(piece_V[tokens_T[1:]], False)
    counts_NV[row, tokens_T[~piece_V[tokens_T] & ~goes_on_T]] = 1
  idf_V = TfidfTransformer().fit(counts_NV).idf_
  weight_V = np.asarray(jax.nn.softplus(found.params["sides"]["rarity"]))
  words = np.setdiff1d(np.arange(len(idf_V)), found.run.tokenizer.special)
  np.testing.assert_allclose(weight_V[words], idf_V[words], rtol=1e-4)
  assert np.abs(found.params["sides"]["appearance_kernel"]).max() > 0


def test_product_ids_move_the_sides_but_for_the_mean(run):
  before, after = (restore(run, step=n).params["sides"] for n in (0, 4))
  moved = {name: bool((before[name] != after[name]).any()) for name in before}
  assert not moved.pop("appearance_mean")
  assert not moved.pop("joins")
  assert all(moved.values())


def test_a_side_of_a_listing_is_that_of_the_listing_with_both(run, tiny_data):
  D = tiny_run.get_config().model.width
  both = embedded(run, tiny_data, 4)
  image = embedded(run, tiny_data, 4, "image")
  title = embedded(run, tiny_data, 4, "title")
  np.testing.assert_allclose(
    unit(both[:, D : D + W]), unit(image[:, D : D + W]), atol=1e-5
  )
  np.testing.assert_allclose(
    unit(both[:, D + W :]), unit(title[:, D + W :]), atol=1e-5
  )
  assert not image[:, D + W :].any()
  assert not title[:, D : D + W].any()


def test_weighted_parts_on_devices_are_what_numpy_computes(run, tiny_data):
  model = load(run)
  records = [open_dataset(tiny_data).source("train")[i] for i in range(12)]
  images, titles = ([getattr(r, name) for r in records] for name in SHOWN)
  titles[3] = images[5] = None
  plain_ND = model.embed(images, titles)
  scale_D = np.linspace(0.5, 2, plain_ND.shape[1]).astype(np.float32)
  weighted = Transform("weighted", scale_D=scale_D, shares=(0.2, 0.5, 0.3))
  model.enter(Space(weighted, {"pool": "sides"}))
  got_ND = model.embed(images, titles)
  np.testing.assert_allclose(got_ND, weighted.apply(plain_ND), atol=1e-5)


def test_the_shares_of_a_cosine_are_named(run):
  model = load(run, step=0)
  module, params = model.task.network.module, model.params
  shares = cosine_shares(module, params)
  named = {"[CLS]": 0.0, "appearance": 0.5, "title side": 0.5}
  assert shares == pytest.approx(named)
  chosen = dict(zip(named, (0.2, 0.5, 0.3), strict=True))
  assert cosine_shares(module, params, (0.2, 0.5, 0.3)) == chosen
  of_images = cosine_shares(module, params, (0.2, 0.8, 0.0))
  assert list(of_images.values()) == pytest.approx([0.1, 0.4, 0.5])
  assert cosine_shares(module, {}) == {}


def test_shares_are_said_of_vectors_that_have_them(run):
  model = load(run, step=0)
  own = modality.cosine_shares(model)
  weighted = Transform(
    "weighted",
    scale_D=np.ones(model.dims, np.float32),
    shares=(0.2, 0.5, 0.3),
  )
  for transform, pool, said in (
    (Transform(), "sides", list(own.values())),
    (weighted, "sides", [0.2, 0.5, 0.3]),
    (Transform("centred", np.zeros(model.dims, np.float32)), "sides", []),
    (Transform(), "concat", []),
  ):
    model.enter(Space(transform, {"pool": pool}))
    assert list(modality.cosine_shares(model).values()) == said


def shortness(params, setup, should_stop):
  """Falls as training lets the parameters grow."""
  del setup, should_stop
  return {"shortness": -float(jnp.abs(params["sides"]["word"]).sum())}


def test_a_start_is_measured_and_may_be_the_best(tiny_data, tmp_path):
  config = sided(tiny_data, optim__sides_rate=100.0)
  config.evaluators = (f"{__name__}:shortness",)
  config.checkpoint.best, config.checkpoint.keep = "shortness", 1
  config.eval_every = config.checkpoint.every = 2
  run = train(config, tmp_path / "run")
  assert list(evals(run.workdir)) == [0, 2, 4]
  assert run.best_step == 0
  assert train(config, tmp_path / "run").best_step == 0
  assert list(evals(run.workdir)) == [0, 2, 4]  # and is measured once


def test_a_start_whose_measuring_was_stopped_is_measured_later(
  tiny_data, tmp_path, monkeypatch
):
  config = sided(tiny_data)

  def stop(*args, **how):
    raise Preempted("stopped")

  with monkeypatch.context() as patch:
    patch.setattr(Evaluators, "__call__", stop)
    with pytest.raises(Preempted):
      train(config, tmp_path / "run")
  again, whole = (
    train(config, tmp_path / "run"),
    train(config, tmp_path / "all"),
  )
  assert evals(again.workdir) == evals(whole.workdir)
  assert 0 in evals(whole.workdir)


def evals(workdir):
  """What was measured, by step."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if row["kind"] == "eval"]
  assert len({row["step"] for row in rows}) == len(rows)
  return {row["step"]: row for row in rows}


def test_a_run_from_a_run_without_sides_makes_them(tiny_data, tmp_path, run):
  plain = train(sided(tiny_data, model__sides=0), tmp_path / "plain").workdir
  config = sided(tiny_data)
  config.start_from, config.steps = str(plain), 0
  begun = restore(train(config, tmp_path / "begun").workdir, step=0)
  made = restore(run, step=0)
  np.testing.assert_array_equal(
    begun.params["sides"]["rarity"], made.params["sides"]["rarity"]
  )
  np.testing.assert_array_equal(
    begun.params["cls"], restore(plain).params["cls"]
  )


def test_a_run_from_a_run_with_sides_keeps_them(tiny_data, tmp_path, run):
  config = sided(tiny_data)
  config.start_from, config.steps = str(run), 0
  begun = restore(train(config, tmp_path / "begun").workdir, step=0)
  kept = restore(run)
  for name, leaf in kept.params["sides"].items():
    np.testing.assert_array_equal(begun.params["sides"][name], leaf)


def test_a_run_from_a_run_has_its_sides_unless_told(tiny_data, tmp_path, run):
  config = tiny_run.get_config("products")
  config.data.path, config.start_from = str(tiny_data), str(run)
  assert config.model.sides == 0
  assert follow_start(config).model.sides == W
  config.model.sides = 0
  assert follow_start(config).model.sides == 0


def test_sides_of_another_network_are_refused(tiny_data):
  config = tiny_run.get_config("clip")
  config.data.path, config.model.sides = str(tiny_data), W
  with pytest.raises(UserError, match=r"sides=8 joins .* not 'clip'"):
    validate(config, devices=1)


def test_a_run_that_knew_no_whole_words_is_resumed_by_its_command(
  tiny_data, tmp_path
):
  config = sided(tiny_data)
  config.steps, config.model.whole_words = 0, False
  workdir = train(config, tmp_path / "run").workdir
  saved = read_checksummed(workdir / RUN_FILE)
  del saved["config"]["model.whole_words"]
  write_checksummed(workdir / RUN_FILE, saved)
  asked = sided(tiny_data)  # names neither
  asked.steps = 0
  again = train(asked, workdir)
  assert not again.config.model.whole_words
  asked.model.whole_words = True
  with pytest.raises(UserError, match=r"whole_words: was False, is True"):
    train(asked, workdir)
