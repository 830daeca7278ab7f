"""Laws of a network of images before the transformer."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_stem

from item_jax import tasks
from item_jax.config_check import validate
from item_jax.data import pipeline
from item_jax.data.grids import Grids, sums_path, write_sums
from item_jax.data.images import BadImage
from item_jax.data.order import Order
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.inference.embedder import load
from item_jax.inference.export import export
from item_jax.models import base
from item_jax.models import stem as stem_lib
from item_jax.models.memory import Chip
from item_jax.training import stem_features
from item_jax.training.loop import train
from item_jax.training.restore import restore
from item_jax.training.setup import set_up

FEATURES = {"loss__mim_target": "features"}
TRAINED = {"optim__stem_rate": 0.5}


@pytest.fixture(scope="module", autouse=True)
def few_blocks():
  with pytest.MonkeyPatch.context() as patch:
    tiny_stem.shrink(patch)
    yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  return tiny_stem.write_weights(
    tmp_path_factory.mktemp("weights") / "stem.safetensors"
  )


def make_task(**changes):
  config = tiny_stem.make_config(**changes)
  validate(config, devices=1)
  task = tasks.make_task(config, tiny.Vocabulary())
  return config, task, jax.jit(lambda: tasks.initial_params(task, 1))()


def make_batch(config, rows=4):
  size = config.model.image_size
  batch = tiny.make_batch(rows)
  T = config.model.max_title_tokens
  tokens_BT = np.pad(batch.tokens_BT, ((0, 0), (0, T)))[:, :T]
  rng = np.random.default_rng(0)
  image_BHWC = rng.integers(0, 256, (rows, size, size, 3), np.uint8)
  return batch._replace(image_BHWC=image_BHWC, tokens_BT=tokens_BT)


def slopes(task, params, batch):
  """Of MIM and GMIM, and their sums."""
  view = task.objective.corrupt(jax.random.key(0), 0, batch)

  @jax.jit
  def run(params):
    def loss(params):
      totals, _ = task.objective.totals(params, view, jax.random.key(1))
      return totals["mim"] + totals["gmim"], totals

    return jax.grad(loss, has_aux=True)(params)

  grads, totals = run(params)
  return grads, totals, view


@pytest.mark.parametrize("changes", [{}, FEATURES, TRAINED])
def test_only_a_trained_stem_is_moved_and_never_its_statistics(changes):
  config, task, params = make_task(**changes)
  grads, *_ = slopes(task, params, make_batch(config))
  stem = grads[base.STEM]
  statistics = stem.pop(base.BATCH_STATS)
  assert not any(x.any() for x in jax.tree.leaves(statistics))
  moved = any(x.any() for x in jax.tree.leaves(stem))
  assert moved == (changes == TRAINED)
  assert grads["project"]["kernel"].any()


def test_a_trained_stem_does_not_see_what_is_hidden():
  config, task, params = make_task(**TRAINED)
  model, batch = task.network.module, make_batch(config)
  masked_BN = np.zeros((4, model.num_patches), bool)
  masked_BN[:, 5] = True  # the second row's second place: of pixels 8 to 16
  other = batch.image_BHWC.copy()
  other[:, 8:16, 8:16] = 255 - other[:, 8:16, 8:16]
  assert model.patch == 8

  @jax.jit
  def states(image, masked):
    return model.apply(
      {"params": params},
      batch._replace(image_BHWC=image),
      masked,
      method="encode",
    )

  hidden = states(batch.image_BHWC, masked_BN)
  np.testing.assert_array_equal(hidden, states(other, masked_BN))
  nothing = np.zeros_like(masked_BN)
  assert (states(other, nothing) != states(batch.image_BHWC, nothing)).any()
  # A neighbouring place is seen.
  other[:, 0, 0] = 255 - other[:, 0, 0]
  assert (states(other, masked_BN) != hidden).any()


def standardised(grid):
  """Each vector by itself, the variance floored as that of pixels is."""
  places_BNC = np.asarray(grid, np.float64).reshape(
    len(grid), -1, tiny_stem.HEAD
  )
  mean = places_BNC.mean(-1, keepdims=True)
  variance = places_BNC.var(-1, keepdims=True)
  return (places_BNC - mean) / np.sqrt(np.maximum(variance, 2.5e-4))


def test_features_are_recovered_standardised():
  config, task, params = make_task(**FEATURES, model__dropout=0.0)
  batch, model = make_batch(config), task.network.module
  _, totals, view = slopes(task, params, batch)

  @jax.jit
  def predict(params):
    def apply(*arguments, method):
      return model.apply({"params": params}, *arguments, method=method)

    masked = view.masked_patches
    states = apply(view.batch, masked.masked_BN, method="encode")
    places = (view.masked_tokens.positions_BK, masked.positions_BK)
    return (
      apply(states, *places, method="predict"),
      model.stem.grid(params[base.STEM], batch),
    )

  found, grid = jax.tree.map(np.asarray, predict(params))
  assert grid.shape == (4, 4, 4, tiny_stem.HEAD)
  targets_BNC = standardised(grid)
  counted_BK = view.recover_B[:, None] & view.masked_patches.valid_BK
  for name, predicted in (("mim", found.mim_BKP), ("gmim", found.gmim_BKP)):
    expected = 0.0
    for b, k in np.argwhere(counted_BK):
      n = int(view.masked_patches.positions_BK[b, k])
      expected += np.mean((predicted[b, k] - targets_BNC[b, n]) ** 2)
    np.testing.assert_allclose(totals[name], expected, rtol=1e-4)


def test_a_chance_level_is_the_variance_over_images():
  config, task, params = make_task(**FEATURES)
  batches = [make_batch(config, 6)]
  levels = task.objective.chance_of_params(params, lambda rows: batches)
  places = task.network.module.stem.grid(params[base.STEM], batches[0])
  expected = standardised(places).var(0, ddof=1).mean()
  assert levels["mim"] == levels["gmim"] == pytest.approx(expected, rel=1e-4)


def test_a_coarser_grid_is_pytorchs_adaptive_mean():
  torch = pytest.importorskip(
    "torch", reason="the extra torchcheck is not installed"
  )
  grid = np.random.default_rng(0).normal(size=(2, 7, 7, 5)).astype(np.float32)
  stem = stem_lib.Stem(None, lambda params, batch: batch, 7, 5, None)
  ours = stem_lib.averaged(stem, 4).grid(None, grid)
  theirs = torch.nn.functional.adaptive_avg_pool2d(
    torch.from_numpy(grid).permute(0, 3, 1, 2), 4
  ).permute(0, 2, 3, 1)
  np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("width", [0, 8])
def test_features_stand_for_pixels(width):
  """With sides the colours and outlines that they read stand with them."""
  changes = {"model__stem_grid": 2, "model__sides": width}
  config, task, params = make_task(**FEATURES, **changes)
  batch = make_batch(config)
  grid = np.asarray(task.network.module.stem.grid(params[base.STEM], batch))
  # 4 x 4 cells of 3 colours and 8 directions in each of the places.
  of_place = tiny_stem.HEAD + bool(width) * 16 * 11
  assert grid.shape[1:] == (2, 2, of_place)
  kept = batch._replace(image_BHWC=grid.astype(np.float16))
  embed = jax.jit(task.embed)
  np.testing.assert_allclose(
    embed(params, kept), embed(params, batch), atol=2e-3
  )
  assert kept.image_BHWC.dtype == jnp.float16


def test_the_stems_work_is_counted_once_or_thrice():
  _, frozen, _ = make_task(**FEATURES)
  _, kept, _ = make_task(**FEATURES, data__features="auto")
  cost = frozen.network.module.stem.cost
  assert frozen.train_flops == kept.train_flops + cost.flops
  assert frozen.embed_flops == kept.embed_flops + cost.flops
  _, still, _ = make_task()
  _, trained, _ = make_task(**TRAINED)
  assert trained.train_flops == still.train_flops + 2 * cost.flops
  chip = Chip(tpu=False, attention="xla")
  assert cost in trained.objective.passes
  assert cost.activation_bytes(chip).forward > 0
  memory = [one.activation_bytes(chip) for one in still.objective.passes]
  assert memory[1].forward == memory[1].working == memory[1].backward == 0
  assert memory[1].alone == cost.activation_bytes(chip).alone > 0
  assert len(kept.objective.passes) == 1


def metrics_of(workdir, kind):
  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  return [line for line in lines if line["kind"] == kind]


def test_a_run_of_kept_features_is_the_run_of_pixels(
  tiny_data, weights, tmp_path
):
  """To the rounding of float16; what it exports reads pixels."""
  data = tmp_path / "data"
  shutil.copytree(tiny_data, data)
  options = FEATURES | {"stem_from": weights, "loss__align": 1.0}
  pixels = tiny_stem.make_config(data, **options)
  kept = tiny_stem.make_config(data, **options, data__features="auto")
  train(pixels, tmp_path / "pixels")
  train(kept, tmp_path / "kept")
  files = sorted((tmp_path / "data.features").glob("*.npy"))
  assert [file.name.split("-")[0] for file in files] == ["train", "val"]
  assert np.load(files[0]).shape[1:] == (4, 4, tiny_stem.HEAD)
  runs = [restore(tmp_path / name) for name in ("pixels", "kept")]
  for path, one in jax.tree_util.tree_leaves_with_path(runs[0].params):
    other = runs[1].params
    for key in path:
      other = other[key.key]
    np.testing.assert_allclose(one, other, atol=2e-3)
  first = restore(tmp_path / "kept", step=0).params[base.STEM]
  for one, other in zip(
    jax.tree.leaves(first),
    jax.tree.leaves(runs[1].params[base.STEM]),
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)
  for name in ("train", "eval"):
    ours = metrics_of(tmp_path / "kept", name)
    for line, wanted in zip(
      ours, metrics_of(tmp_path / "pixels", name), strict=True
    ):
      for metric in ("mim", "mim_floor", "mlm", "align"):
        if metric in wanted:
          assert line[metric] == pytest.approx(wanted[metric], abs=5e-3)
  one = load(tmp_path / "kept").embed_split(data, "val")
  out = export(tmp_path / "kept", data=data, split="val", out=tmp_path / "E")
  np.testing.assert_array_equal(out.vectors, one)
  # A later run computes nothing anew, and neither does one that goes on,
  # even if the weights are gone.
  times = [file.stat().st_mtime_ns for file in files]
  setup = set_up(kept, tmp_path / "kept")
  kept.seed = 1
  set_up(kept, None)
  assert times == [file.stat().st_mtime_ns for file in files]
  batch = next(
    pipeline.ordered_batches(
      setup.store,
      "val",
      setup.tokenizer,
      image_size=32,
      max_title_tokens=12,
      batch_size=4,
      grids=setup.grids["val"],
    )
  )
  assert batch.image_BHWC.shape == (4, 4, 4, tiny_stem.HEAD)


@pytest.mark.slow
def test_split_parameters_learn_as_whole_ones_do(tiny_data, weights, tmp_path):
  """Those of a stem that is trained and those of sides among them."""
  options = {"stem_from": weights, "model__sides": 8, "task": "products"}
  options |= TRAINED  # and the five objectives beside it
  found = []
  for fsdp in (1, 2):
    config = tiny_stem.make_config(tiny_data, **options, mesh__fsdp=fsdp)
    train(config, tmp_path / str(fsdp))
    found.append(metrics_of(tmp_path / str(fsdp), "train"))
  for whole, split in zip(*found, strict=True):
    assert split["loss"] == pytest.approx(whole["loss"], rel=1e-4)


def test_a_killed_writer_goes_on(tiny_data, weights, tmp_path, monkeypatch):
  config = tiny_stem.make_config(
    tiny_data, **FEATURES, data__features=str(tmp_path), stem_from=weights
  )
  monkeypatch.setattr(stem_features, "_ROWS", 2)
  monkeypatch.setattr(stem_features, "_FLUSH", 1)
  store = open_dataset(tiny_data)
  tokenizer = load_tokenizer(store.path / "tokenizer.json")
  whole = stem_features._compute
  config.evaluators = ()
  task = tasks.make_task(config, tokenizer)
  params = tasks.initial_params(task, 0)[base.STEM]
  started = []

  def cut(*arguments):
    started.append(arguments[-1])
    for number, found in enumerate(whole(*arguments)):
      if len(started) == 1 and number == 3:
        raise KeyboardInterrupt
      yield found

  monkeypatch.setattr(stem_features, "_compute", cut)

  rows_done = []

  class Listener:
    def update(self, stage, step):
      rows_done.append((stage, step))

  def open_grids(params=params):
    return stem_features.open_grids(
      *(config, store, tokenizer),
      weights=stem_features.fingerprint(params),
      params=lambda: params,
      progress=Listener(),
    )

  with pytest.raises(KeyboardInterrupt):
    open_grids()
  assert not list(tmp_path.glob("*.npy"))
  grids = open_grids()
  devices = jax.local_device_count()
  assert started[:2] == [0, 3 * 2 * devices]
  # The watchdog hears of each batch: all of them may take hours.
  train = [min(n, store.sizes["train"]) for n in range(0, 10**4, 2 * devices)]
  want = [("set up", n) for n in dict.fromkeys(train[1:])]
  assert rows_done[2:][: len(want) - 2] == want[2:]
  rows = range(store.sizes["train"])
  found = np.stack([grids["train"][row] for row in rows])
  batches = pipeline.ordered_batches(
    *(store, "train", tokenizer),
    image_size=32,
    max_title_tokens=12,
    batch_size=len(rows),
  )
  grid = task.network.module.stem.grid(params, next(batches))
  np.testing.assert_allclose(found, grid, atol=2e-3, rtol=1e-3)
  # A note is of the part beside it, and not of one that was deleted.
  path = next(tmp_path.glob("train-*.npy"))
  path.unlink()
  path.with_suffix(".rows").write_text("4")
  monkeypatch.setattr(stem_features, "_FLUSH", 100)
  started.clear()
  with pytest.raises(KeyboardInterrupt):
    open_grids()
  again = open_grids()
  assert started == [0, 0]
  np.testing.assert_array_equal(
    found, np.stack([again["train"][row] for row in rows])
  )
  # A copy that was cut, or is of other images.
  content = path.read_bytes()
  other = next(tmp_path.glob("val-*.npy"))
  for damaged in (content[:-9], b"", other.read_bytes()):
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"train-.*\.npy does not hold"):
      open_grids()


def test_other_weights_than_the_runs_are_named(tiny_data, weights, tmp_path):
  config = tiny_stem.make_config(
    tiny_data, **FEATURES, data__features=str(tmp_path), stem_from=weights
  )
  store = open_dataset(tiny_data)
  with pytest.raises(UserError, match="no longer those it began with"):
    stem_features.open_grids(
      *(config, store, load_tokenizer(store.path / "tokenizer.json")),
      weights="0" * 64,
      params=lambda: {},
    )


def test_a_row_that_was_unreadable_is_replaced(tiny_data, tmp_path):
  store = open_dataset(tiny_data)
  rows = store.sizes["train"]
  order = Order(rows, 3)
  values = np.ones((rows, 2, 2, 5), np.float16)
  values[:, 1, 1, 4] = np.arange(rows)
  values[order[1], 0, 0, 0] = np.nan
  np.save(tmp_path / "grids.npy", values)
  write_sums(tmp_path / "grids.npy", values)
  form = {"image_size": 32, "max_title_tokens": 10, "batch_size": 4}
  batches = pipeline.training_batches(
    store,
    "train",
    load_tokenizer(store.path / "tokenizer.json"),
    **form,
    seed=3,
    start=0,
    stop=1,
    grids=Grids(tmp_path / "grids.npy"),
  )
  batch = next(batches)
  assert batch.image_BHWC.dtype == np.float16
  assert batch.image_BHWC[:, 1, 1, 4].tolist() == [
    order[i] for i in (0, 2, 2, 3)
  ]
  assert batch.bad_B.tolist() == [False, True, False, False]


def test_an_altered_row_of_features_is_refused(tmp_path):
  path = tmp_path / "grids.npy"
  values = np.random.default_rng(0).normal(size=(3, 2, 2, 5))
  np.save(path, values.astype(np.float16))
  write_sums(path, np.load(path))
  content = bytearray(path.read_bytes())
  content[-1] ^= 1  # of the last row
  path.write_bytes(content)
  grids = Grids(path)
  np.testing.assert_array_equal(grids[1], values[1].astype(np.float16))
  with pytest.raises(BadImage, match=r"grids\.npy: row 2 was altered"):
    grids[2]
  sums_path(path).write_bytes(sums_path(path).read_bytes()[:-4])
  with pytest.raises(ValueError, match="it has 2 checksums"):
    Grids(path)


@pytest.mark.parametrize(
  ("changes", "match"),
  [
    ({"model__stem": "patch", "stem_from": "F"}, "stem_from=F is of a stem"),
    ({"model__stem": "patch", **FEATURES}, "mim_target=features is of a stem"),
    ({"model__name": "clip", "task": "contrastive"}, "not 'clip'"),
    (FEATURES | TRAINED, r"mim_target=features takes .*stem_rate=0, not 0\.5"),
    ({"data__features": "auto"}, "mim_target=pixels needs pixels"),
    (
      FEATURES
      | {"data__features": "auto", "loss__align": 1.0, "align__views": "both"},
      "align.views=both needs pixels",
    ),
    ({"model__stem_grid": 5}, "stem_grid=5: .* 4 places a side"),
    ({"model__stem_grid": 3}, "image_size=32 is not divisible by the 3"),
  ],
)
def test_what_cannot_be_is_refused(changes, match):
  with pytest.raises(UserError, match=match):
    make_task(**changes)


def test_a_stem_needs_weights(tiny_data, weights, tmp_path):
  config = tiny_stem.make_config(tiny_data)
  with pytest.raises(UserError, match="has no weights: give --config"):
    set_up(config, tmp_path / "run")
