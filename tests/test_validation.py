"""Validation while training: which rows are scored, and that those are."""

import random
import re
import shutil
from collections import Counter

import jax
import numpy as np
import pytest
import tiny_run
from lost_records import lose

import item_jax
from item_jax.batch import Batch
from item_jax.data import pipeline
from item_jax.data.records import Record, open_dataset
from item_jax.data.unreadable import TooManyBadRecordsError
from item_jax.errors import NotFiniteError, UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.files import write_manifest
from item_jax.inference import validation
from item_jax.inference.embedder import embed_unit
from item_jax.ingest.writer import DatasetWriter
from item_jax.training.loop import train
from item_jax.training.monitor import DivergedError, TrainMonitor
from item_jax.training.setup import set_up


def test_of_a_large_split_whole_products_are_scored(tmp_path, monkeypatch):
  monkeypatch.setattr(validation, "MOST_ROWS", 20)
  rows = [Record(f"l{n}", f"p{n // 3}", "mug", "", b"") for n in range(180)]
  ids = []
  for seed in (0, 1):
    random.Random(seed).shuffle(rows)
    store = tmp_path / str(seed)
    store.mkdir()
    writer = DatasetWriter(store)
    for row in rows:
      writer.add("val", row)
    writer.close()
    source = pipeline.Source([(next(store.glob("*val*")), len(rows))])
    numbers, listings, products, _ = validation.scored_rows(source, "val")
    assert numbers == sorted(numbers)
    assert [rows[n].listing_id for n in numbers] == listings
    assert set(Counter(products).values()) == {3}
    assert len(numbers) == 18
    ids.append(sorted(listings))
  assert ids[0] == ids[1]  # in whichever order they stand


def test_one_product_beyond_the_limit_is_cut(tmp_path, monkeypatch):
  monkeypatch.setattr(validation, "MOST_ROWS", 4)
  writer = DatasetWriter(tmp_path)
  for n in range(9):
    writer.add("val", Record(f"l{n}", "p", "mug", "", b""))
  writer.close()
  source = pipeline.Source([(next(tmp_path.glob("*val*")), 9)])
  assert validation.scored_rows(source, "val")[0] == [0, 1, 2, 3]


def test_scores_are_of_the_rows_chosen(tiny_data, monkeypatch):
  config = tiny_run.get_config("short")
  config.data.path = str(tiny_data)
  config.steps = 0  # no step is compiled
  store = open_dataset(tiny_data)
  monkeypatch.setattr(validation, "MOST_ROWS", store.sizes["val"] * 2 // 3)
  setup = set_up(config, None)
  params = setup.initialise().params
  found = validation.RetrievalEvaluator(setup)(params, setup)
  rows, ids, products, _ = validation.scored_rows(store.source("val"), "val")
  assert len(rows) < store.sizes["val"]
  made = [
    pipeline.make_row(
      store.source("val")[row],
      tokenizer=setup.tokenizer,
      image_size=config.model.image_size,
      max_title_tokens=config.model.max_title_tokens,
    )
    for row in rows
  ]
  batch = pipeline.Batch(*map(np.stack, zip(*made, strict=True)))
  vectors = embed_unit(
    setup.task, jax.device_get(params), batch, modality="both"
  )
  scored = retrieval.score(
    np.asarray(vectors), Items(ids, products), bootstrap=0
  )
  for name in ("recall@10", "map@10"):
    np.testing.assert_allclose(found[f"both/{name}"], scored.summary[name])


def test_accuracy_is_of_the_listings_that_can_be_read(tiny_data, tmp_path):
  """As `predict_split` counts: nothing was predicted for the others."""
  data = shutil.copytree(tiny_data, tmp_path / "data")
  records = list(open_dataset(tiny_data).source("val"))
  writer = DatasetWriter(data)
  for split in open_dataset(tiny_data).sizes:
    for row, record in enumerate(open_dataset(tiny_data).source(split)):
      if split == "val" and row % 2:
        record = record._replace(image=record.image[:-200])
      writer.add(split, record)
  writer.close()
  write_manifest(data)
  config = tiny_run.get_config("category")
  config.data.path, config.steps = str(data), 0
  config.data.max_bad_fraction = 0.5
  setup = set_up(config, None)
  params = setup.initialise().params
  made = [
    pipeline.make_row(
      record,
      tokenizer=setup.tokenizer,
      image_size=config.model.image_size,
      max_title_tokens=config.model.max_title_tokens,
    )
    for record in records[::2]
  ]
  batch = Batch(*(np.stack(column) for column in zip(*made, strict=True)))
  best_B = np.asarray(setup.task.predict(params, batch).argmax(-1))
  known = [
    (setup.categories[best], record.category)
    for best, record in zip(best_B.tolist(), records[::2], strict=True)
    if record.category in setup.categories
  ]
  found = validation.RetrievalEvaluator(setup)(params, setup)
  right = np.mean([best == true for best, true in known])
  assert found["category/accuracy"] == pytest.approx(right)


def test_rows_that_cannot_be_read_are_named_and_too_many_end_the_run(
  tiny_data, tmp_path, caplog
):
  """One is no fault of the data; without a word it would lower the scores."""
  data = shutil.copytree(tiny_data, tmp_path / "data")
  records = list(open_dataset(data).source("val"))
  lose(data, "val", records[3])
  setup, params = start(data)
  with caplog.at_level("INFO"):
    assert validation.RetrievalEvaluator(setup)(params, setup)
  said = f"1 of {len(records)} rows of validation cannot be read: val[3]"
  assert said in caplog.text

  lose(data, "val", records[5])
  setup, params = start(data)
  with pytest.raises(TooManyBadRecordsError, match=r"val\[3\], val\[5\]"):
    validation.RetrievalEvaluator(setup)(params, setup)


def start(data):
  """A Setup that trains nothing, and its first parameters."""
  config = tiny_run.get_config("short")
  config.data.path, config.steps = str(data), 0
  setup = set_up(config, None)
  return setup, setup.initialise().params


@pytest.fixture(scope="module")
def titles_alone(tmp_path_factory):
  out = tmp_path_factory.mktemp("titles") / "data"
  rows = [
    {"listing_id": n, "product_id": f"p{n // 2}", "title": f"mug {n // 2}"}
    for n in range(120)
  ]
  item_jax.prepare(rows, out=out, vocab_size=120, workers=1)
  return out


def test_an_objective_that_finds_nothing_to_learn_is_named(
  titles_alone, tmp_path, caplog
):
  config = tiny_run.get_config("clip")
  config.data.path, config.evaluators = str(titles_alone), ()
  with caplog.at_level("INFO"):
    train(config, tmp_path / "run")
  assert caplog.text.count("nothing to learn for contrastive") == 1


def test_a_loss_with_nothing_to_tell_apart_is_named(tiny_data, caplog):
  config = tiny_run.get_config("short")
  config.data.path, config.batch_size = str(tiny_data), 4
  config.evaluators, config.loss.negative_rate = (), 0.1  # .4 pairs are none
  with caplog.at_level("INFO"):
    setup = set_up(config, None)
  assert setup.chance_levels["itm"] == 0
  assert setup.chance_levels["mlm"] > 0
  assert "chance level 0 of itm: in batches of 4 of" in caplog.text


def test_a_side_that_no_row_has_is_not_measured(titles_alone):
  setup, params = start(titles_alone)
  found = validation.RetrievalEvaluator(setup)(params, setup)
  assert {name.split("/")[0] for name in found} == {"both", "title"}


def test_what_is_not_finite_is_no_measurement(tiny_data):
  setup, params = start(tiny_data)
  params = jax.tree.map(lambda x: x * np.nan, params)
  with pytest.raises(NotFiniteError):
    validation.RetrievalEvaluator(setup)(params, setup)


def test_a_run_that_diverges_says_so_though_an_evaluation_sees_it_first(
  tiny_data, tmp_path
):
  config = tiny_run.get_config("diverging")
  config.data.path, config.eval_every = str(tiny_data), 1
  with pytest.raises(DivergedError, match="from before step") as raised:
    train(config, tmp_path / "run")
  doubtful = int(re.search(r"before step (\d+)", str(raised.value))[1])
  folder = tmp_path / "run" / "checkpoints"
  last = max(int(path.name) for path in folder.iterdir())
  assert last <= doubtful  # none of the steps that were skipped
  with pytest.raises(UserError, match=rf"not finite.* step {last}"):
    item_jax.load(tmp_path / "run", step=last).embed(titles=["a red mug"])


@pytest.mark.parametrize(
  ("skipped", "saved"), [({3}, {4, 6, 8}), (range(9), {5, 8})]
)
def test_a_save_waits_for_a_step_that_is_taken_or_measured(
  tiny_data, tmp_path, monkeypatch, skipped, saved
):
  config = tiny_run.get_config("short")
  config.data.path, config.eval_every = str(tiny_data), 5
  config.checkpoint.every = 3
  if skipped == {3}:
    config.evaluators = ()
  flush = TrainMonitor.flush

  def flush_skipped(monitor):
    step = monitor._pending and monitor._pending[0]
    flush(monitor)
    if step:
      monitor.skipping = step in skipped

  monkeypatch.setattr(TrainMonitor, "flush", flush_skipped)
  train(config, tmp_path / "run")
  folder = tmp_path / "run" / "checkpoints"
  assert {int(path.name) for path in folder.iterdir()} == saved


def test_a_split_without_a_row_is_named_with_what_helps(tmp_path):
  row = {"product_id": "p", "title": "mug", "split": "train"}
  made = item_jax.prepare([row], out=tmp_path / "data", workers=1)
  assert "warning     no row is in split val" in str(made)
  assert "split train" not in str(made)
  with pytest.raises(
    UserError, match=r"--config\.data\.val_split names another"
  ):
    start(tmp_path / "data")
