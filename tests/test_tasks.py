"""Laws of the tasks: whatever trains, its names, parameters and embeddings
fit together, and one run can start from another."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_run

from item_jax import tasks
from item_jax.config import Config, flatten, from_flat
from item_jax.data import pipeline
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.inference.embedder import embed_unit, load
from item_jax.inference.export import export
from item_jax.models import resnet
from item_jax.objectives import chance, contrastive
from item_jax.objectives.category import class_table
from item_jax.training.loop import train
from item_jax.training.optimizer import make_optimizer
from item_jax.training.restore import restore
from item_jax.training.setup import set_up
from item_jax.training.step import init_state, make_train_step, metric_names

VARIANTS = ("plain", *tiny_run.BASELINES)


@pytest.fixture(scope="module", autouse=True)
def few_blocks():
  """A ResNet of one block a stage: compiling is what tests wait for."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(resnet, "STAGES", (1, 1, 1, 1))
    yield


def make_config(data, variant, **changes):
  config = tiny_run.get_config(variant)
  config.data.path = str(data)
  for name, value in changes.items():
    setattr(config, name, value)
  return config


@pytest.fixture(scope="module")
def parts(tiny_data):
  """variant -> (task, () -> params, batch of 8 with missing sides)."""
  store = open_dataset(tiny_data)
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")
  made = {}

  def make(variant):
    if variant not in made:
      config = make_config(tiny_data, variant)
      names = tasks.find_categories(config, store, "train")
      task = tasks.make_task(config, tokenizer, categories=names)
      params = jax.jit(lambda task=task: tasks.initial_params(task, 0))
      rng = np.random.default_rng(0)
      batch = tasks.example_batch(config, 8)
      tokens_BT = rng.integers(5, tokenizer.size, batch.tokens_BT.shape)
      tokens_BT[:, 7], tokens_BT[:, 8:] = tokenizer.sep, tokenizer.pad
      known = class_table(names)[0] if names else [0, 0]
      batch = batch._replace(
        image_BHWC=rng.integers(0, 256, batch.image_BHWC.shape, np.uint8),
        tokens_BT=tokens_BT.astype(np.int32),
        has_image_B=np.array([1, 1, 1, 0, 1, 0, 1, 1], bool),
        has_title_B=np.array([1, 1, 1, 1, 0, 0, 1, 1], bool),
        product_B=np.arange(8, dtype=np.uint32) // 2,
        category_B=np.array([*known[:2], 7] * 2 + [0, 7], np.uint32),
      )
      made[variant] = task, params, batch
    return made[variant]

  return make


def make_step(task, params, batch, *, accumulate):
  """(state, jitted step) with AdamW."""
  optimizer = make_optimizer(
    lambda step: 1e-3, b1=0.9, b2=0.99, eps=1e-8, decay=0.0, clip=1.0
  )
  view = jax.eval_shape(
    lambda b: task.objective.corrupt(jax.random.key(0), 0, b), batch
  )
  names = metric_names(task.objective, view)
  state = jax.jit(lambda p: init_state(p, optimizer, names))(params)
  step = make_train_step(
    task.objective, optimizer, seed=0, accumulate=accumulate, log_every=10
  )
  return state, jax.jit(step)


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_parameters_fit(parts, variant):
  task, initial, batch = parts(variant)
  params = jax.eval_shape(initial)
  view = jax.eval_shape(
    lambda b: task.objective.corrupt(jax.random.key(0), 0, b), batch
  )
  totals, batch_stats = jax.eval_shape(
    task.objective.totals, params, view, jax.random.key(1)
  )
  counts = jax.eval_shape(task.objective.counts, view)
  assert totals.keys() == counts.keys()
  assert task.objective.weights.keys() <= totals.keys()
  assert batch_stats.keys() <= params.keys()
  core = jax.eval_shape(task.core, jax.random.key(0))
  assert core.keys() <= params.keys()
  only = {name: params[name] for name in core}
  shape = jax.eval_shape(task.embed, only, batch)
  assert shape.shape == (8, task.dims)
  assert shape.dtype == jnp.float32


@pytest.mark.parametrize("variant", sorted({*VARIANTS} - {"roberta_tuned"}))
def test_steps_and_embeddings_are_finite_with_missing_modalities(
  parts, variant
):
  task, initial, batch = parts(variant)
  params = initial()
  if "category_head" in params:  # zeros would let no gradient through
    kernel_DC = params["category_head"]["kernel"]
    noise_DC = jax.random.normal(jax.random.key(1), kernel_DC.shape)
    params["category_head"]["kernel"] = noise_DC
  state, step = make_step(task, params, batch, accumulate=1)
  after, report = step(state, batch)
  assert not report.skipped
  still = {
    path[0].key
    for (path, a), b in zip(
      jax.tree_util.tree_leaves_with_path(params),
      jax.tree.leaves(after.params),
      strict=True,
    )
    if not (a != b).any()
  }
  # Nothing is hidden, or compared, where the category alone is learnt.
  idle = {"hidden_patch", "log_scale"} if task.predict else set()
  assert still <= idle
  embed = jax.jit(
    lambda params, batch: [
      embed_unit(task, params, batch, modality=modality)
      for modality in task.modalities
    ]
  )
  for g_BD in embed(after.params, batch):
    np.testing.assert_allclose(np.linalg.norm(g_BD, axis=1), 1, atol=1e-5)


def test_the_first_loss_of_a_category_head_is_ln_of_the_classes(
  parts, tiny_data
):
  task, initial, batch = parts("category")
  params = initial()
  view = task.objective.corrupt(jax.random.key(0), 0, batch)
  totals, _ = jax.jit(task.objective.totals)(params, view, jax.random.key(1))
  counts = task.objective.counts(view)
  assert float(counts["category"]) == 4  # two of a known class, twice
  classes = len({r.category for r in open_dataset(tiny_data).source("train")})
  assert float(totals["category"] / counts["category"]) == pytest.approx(
    math.log(classes), rel=1e-6
  )
  p_BC = np.exp(jax.jit(task.predict)(params, batch))
  assert p_BC.shape == (8, classes)
  np.testing.assert_allclose(p_BC.sum(1), 1, rtol=1e-5)


def test_running_statistics_are_carried_but_not_past_a_bad_step(tiny_data):
  config = make_config(tiny_data, "resnet50")
  config.resnet.norm = "batch"
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")
  store = open_dataset(tiny_data)
  names = tasks.find_categories(config, store, "train")
  task = tasks.make_task(config, tokenizer, categories=names)
  params = jax.jit(lambda: tasks.initial_params(task, 0))()
  rng = np.random.default_rng(0)
  batch = tasks.example_batch(config, 8)
  batch = batch._replace(
    image_BHWC=rng.integers(0, 256, batch.image_BHWC.shape, np.uint8),
    category_B=np.repeat(class_table(names)[0][:2], 4),
  )
  state, step = make_step(task, params, batch, accumulate=2)
  after, _ = step(state, batch)
  before = jax.tree.leaves(params["statistics"])
  now = jax.tree.leaves(after.params["statistics"])
  assert all((a != b).any() for a, b in zip(before, now, strict=True))
  broken = jax.tree.map(lambda x: x * jnp.nan, after.params["category_head"])
  state = after.replace(params={**after.params, "category_head": broken})
  bad, report = step(state, batch)
  assert report.skipped
  for a, b in zip(now, jax.tree.leaves(bad.params["statistics"]), strict=True):
    np.testing.assert_array_equal(a, b)


def test_categories_out_of_the_order_of_their_hashes_are_refused(tiny_data):
  config = make_config(tiny_data, "category")
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")
  names = tasks.find_categories(config, open_dataset(tiny_data), "train")
  with pytest.raises(ValueError, match="order of their hashes"):
    tasks.make_task(config, tokenizer, categories=names[::-1])


@pytest.fixture(scope="module")
def pretrained(tiny_data, tmp_path_factory):
  """A workdir of eight steps of the five objectives, compiled by others too."""
  workdir = tmp_path_factory.mktemp("pretrained") / "run"
  config = make_config(tiny_data, "short", evaluators=())
  train(config, workdir)
  return workdir


def test_a_run_of_no_steps_is_what_it_started_from(
  pretrained, tiny_data, tmp_path, caplog
):
  config = make_config(
    tiny_data, "category", steps=0, start_from=str(pretrained)
  )
  caplog.set_level("INFO")
  train(config, tmp_path / "run")
  summary = "made new: category_head; not used: global_patch_decoder"
  assert summary in caplog.text
  source, found = restore(pretrained), restore(tmp_path / "run")
  assert found.step == 0
  for name in jax.eval_shape(found.task.core, jax.random.key(0)):
    jax.tree.map(
      np.testing.assert_array_equal, source.params[name], found.params[name]
    )
  embedder = load(tmp_path / "run")
  assert embedder.categories == found.run.categories
  log_p = embedder.predict(titles=["a red mug", None])
  np.testing.assert_allclose(log_p, -math.log(log_p.shape[1]), rtol=1e-5)
  with pytest.raises(UserError, match="predicts no category"):
    load(pretrained).predict(titles=["a red mug"])


def test_product_ids_teach_a_network_that_was_pretrained(
  pretrained, tiny_data, tmp_path, caplog
):
  config = make_config(tiny_data, "products", start_from=str(pretrained))
  caplog.set_level("INFO")
  run = train(config, tmp_path / "run")
  assert "made new: none; not used: global_patch_decoder" in caplog.text
  assert run.metrics["both/recall@10"] > 0
  assert load(tmp_path / "run").embed(titles=["a red mug"]).shape == (1, 32)


def test_another_network_cannot_be_started_from(
  pretrained, tiny_data, tmp_path
):
  config = make_config(tiny_data, "category", start_from=str(pretrained))
  config.model.width = 16
  with pytest.raises(UserError, match=r"cls: \[16\] here, \[32\] there"):
    train(config, tmp_path / "run")
  config = make_config(tiny_data, "category", start_from=str(tmp_path / "no"))
  with pytest.raises(FileNotFoundError, match="start_from"):
    train(config, tmp_path / "other")


def test_a_model_of_one_modality_embeds_no_other(tiny_data, tmp_path):
  config = make_config(tiny_data, "roberta", evaluators=())
  train(config, tmp_path / "run")
  given = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  with pytest.raises(UserError, match="sees one modality only"):
    export(tmp_path / "run", modality="image", **given)
  export(tmp_path / "run", **given)
  meta = json.loads((tmp_path / "e" / "meta.json").read_text())
  assert meta["dims"] == 32


@pytest.mark.parametrize(
  ("variant", "best", "measured"),
  [
    ("plain", "category/accuracy", "both/map@10, image/recall@10"),
    ("resnet50", "image/map@10", "both/map@10, category/accuracy"),
  ],
)
def test_a_best_that_is_never_measured_is_refused(
  tiny_data, variant, best, measured
):
  config = make_config(tiny_data, variant)
  config.checkpoint.best = best
  with pytest.raises(UserError, match=f"{best}.* measure .*{measured}"):
    set_up(config, None)


@pytest.mark.parametrize("views", ["cross_modal", "both"])
def test_chance_levels_are_those_of_the_batches_compared(tiny_data, views):
  """ln of the rows that a row is told from, itself among them."""
  store = open_dataset(tiny_data)
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")
  batches = pipeline.training_batches(
    store,
    "train",
    tokenizer,
    image_size=16,
    max_title_tokens=12,
    batch_size=16,
    seed=0,
    start=0,
    stop=store.sizes["train"] // 16,
  )
  alike = np.concatenate(
    [contrastive.same_item_mask(b).sum(1) for b in batches]
  )
  expected = np.log(17 - alike).mean()
  config = make_config(tiny_data, "plain")
  config.loss.align, config.align.views = 1.0, views
  config.loss.negative_rate = 0.25
  task = tasks.make_task(config, tokenizer)
  found = task.chance_levels(store, "train", tokenizer)
  assert found["align"] == pytest.approx(expected, rel=0.01)
  assert found["itm"] == pytest.approx(chance.category_chance([1, 3]))
  config = make_config(tiny_data, "clip")
  task = tasks.make_task(config, tokenizer)
  found = task.chance_levels(store, "train", tokenizer)
  assert found["contrastive"] == pytest.approx(expected, rel=0.01)
  assert expected < math.log(16) - 0.005


def test_every_shape_that_attention_sees_is_known():
  def shapes():
    return tasks.make_task(config, tiny.Vocabulary()).attention_shapes

  config = Config()
  (whole,) = shapes()
  assert whole == (256, 12, 64, False)
  config.loss.align = 1.0
  assert [positions for positions, *_ in shapes()] == [256, 197, 60]
  config.align.views = "augmented"
  assert shapes() == [whole]


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"loss.align": 1.0, "batch_size": 1}, ["batch_size=1", "loss.align"]),
    (
      {"task": "contrastive", "model.name": "clip", "optim.accumulate": 2},
      ["accumulate=2", "'contrastive'"],
    ),
    (
      {
        "task": "category",
        "model.name": "resnet50",
        "optim.accumulate": 2,
        "resnet.norm": "batch",
      },
      ["accumulate=2", "resnet.norm"],
    ),
  ],
)
def test_what_needs_the_whole_batch_refuses_parts_of_it(fields, words):
  config = from_flat(flatten(Config()) | fields)
  names = class_table(["mugs", "hats"])[1]
  names = [["mugs", "hats"][c] for c in names]
  with pytest.raises(UserError) as error:
    tasks.make_task(config, tiny.Vocabulary(), categories=names)
  for word in words:
    assert word in str(error.value)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"model.name": "no_such.module:make"}, ["model.name", "'no_such'"]),
    ({"model.name": "json:make"}, ["model.name", "json has no make"]),
    ({"objectives": ["json.nothing:f"]}, ["objectives", "json.nothing"]),
    ({"task": "json:TASK"}, ["task=json:TASK", "json has no TASK"]),
    (
      {"objectives": ["builtins:list"]},
      ["objective 'builtins:list' gave <list>", "expected an Objective"],
    ),
  ],
)
def test_a_path_that_leads_nowhere_is_named(fields, words):
  config = from_flat(flatten(Config()) | fields)
  with pytest.raises(UserError) as error:
    tasks.make_task(config, tiny.Vocabulary())
  for word in words:
    assert word in str(error.value)
