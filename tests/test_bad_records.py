"""Records that went bad after `prepare`: replaced, counted and named, the same
way by every worker, host and resumption."""

import json
import shutil
import zlib

import jax
import numpy as np
import pytest
import shell
import tiny_run
from batches import FORM, assert_same, join, read, read_by_hosts
from lost_records import lose

from item_jax.data import order as order_lib
from item_jax.data import pipeline
from item_jax.data.records import Dataset, open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.data.unreadable import TooManyBadRecordsError
from item_jax.errors import UserError
from item_jax.files import write_manifest
from item_jax.ingest.writer import DatasetWriter
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.loop import train
from item_jax.training.metric_log import METRICS_FILE

SEED, SIZE, STEPS = 0, 16, 24
RUN = {"seed": SEED, "size": SIZE}
# Places in the order of the run: one alone, two neighbours, of which the
# first's stand-in is bad too, and one whose image alone is broken.
LOST, BROKEN = (3, 20, 21), 40


@pytest.fixture(scope="module")
def good(tiny_data) -> Dataset:
  return open_dataset(tiny_data)


@pytest.fixture(scope="module")
def order(good):
  return order_lib.Order(good.sizes["train"], SEED)


@pytest.fixture(scope="module")
def damaged(good, order, tmp_path_factory):
  """A copy with bytes of real records overwritten, and one image cut short."""
  folder = tmp_path_factory.mktemp("damaged") / "data"
  shutil.copytree(good.path, folder)
  writer = DatasetWriter(folder)
  for split in good.sizes:
    for number, record in enumerate(good.source(split)):
      if split == "train" and number == order[BROKEN]:
        record = record._replace(image=record.image[: len(record.image) // 2])
      writer.add(split, record)
  writer.close()
  lose(folder, "train", *(good.source("train")[order[p]] for p in LOST))
  return open_dataset(folder)


@pytest.fixture(scope="module")
def bad(order):
  return {order[place] for place in (*LOST, BROKEN)}


@pytest.fixture(scope="module")
def expected(good, order, bad):
  """The law, from the undamaged store: the next good one takes the place."""
  tokenizer = load_tokenizer(good.path / "tokenizer.json")
  batches = []
  for step in range(STEPS):
    rows = []
    for place in range(step * SIZE, (step + 1) * SIZE):
      further = 0
      while order[place + further] in bad:
        further += 1
      row = pipeline.make_row(
        good.source("train")[order[place + further]],
        tokenizer=tokenizer,
        **FORM,
      )
      rows.append(row._replace(bad_B=np.bool_(further)))
    batches.append(join(rows, np.stack))
  return batches


def test_the_next_good_row_takes_the_position(damaged, expected, good):
  assert 2 * good.sizes["train"] < STEPS * SIZE  # on every pass
  assert_same(read(damaged, start=0, stop=STEPS, **RUN), expected)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_replace_alike(damaged, expected, workers):
  found = read(damaged, start=0, stop=6, workers=workers, **RUN)
  assert_same(found, expected[:6])


def test_hosts_replace_alike_from_any_step_on(damaged, expected):
  found = read_by_hosts(4, damaged, start=1, stop=4, **RUN)
  assert_same(found, expected[1:4])


def test_in_a_splits_own_order_it_keeps_its_position(damaged, good, bad):
  rows = {}
  for name, store in (("damaged", damaged), ("good", good)):
    batches = pipeline.ordered_batches(
      store,
      "train",
      load_tokenizer(store.path / "tokenizer.json"),
      batch_size=SIZE,
      **FORM,
    )
    rows[name] = [row for batch in batches for row in zip(*batch, strict=True)]
  for number in range(good.sizes["train"]):
    found = rows["damaged"][number]
    if number in bad:
      _, _, has_image, has_title, _, _, _, is_bad = found
      assert is_bad
      assert not has_image
      assert not has_title
    else:
      for x, y in zip(found, rows["good"][number], strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_split_that_is_gone_is_an_error(tiny_data, tmp_path, workers):
  folder = tmp_path / "data"
  shutil.copytree(tiny_data, folder)
  (shard,) = folder.glob("*-train.array_record-*")
  shard.write_bytes(bytes(shard.stat().st_size))
  write_manifest(folder)
  with pytest.raises(TooManyBadRecordsError, match="100 records in a row"):
    read(open_dataset(folder), start=0, stop=1, workers=workers, **RUN)


def config_of(store):
  """Spikes are looked for too, so narrowly that every other step is one."""
  config = tiny_run.get_config("roberta")  # compiles in the least time
  config.data.path = str(store.path)
  config.data.max_bad_fraction = 0.05
  config.steps = STEPS
  config.log_every = 4
  config.checkpoint.every = 6
  config.evaluators = ()
  config.optim.spike = 0.1
  config.optim.spike_history = 16
  config.max_skipped_steps = 1_000
  return config


@pytest.fixture(scope="module")
def run(damaged, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run") / "whole"
  train(config_of(damaged), workdir)
  return workdir


def rows_of(workdir, *kinds):
  """Rows of the log, without what the clock says."""
  lines = (workdir / METRICS_FILE).read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return [
    {k: v for k, v in row.items() if k not in shell.TIMINGS}
    for row in rows
    if not kinds or row["kind"] in kinds
  ]


def resumable(run, folder, after: int):
  """A copy as a kill after that checkpoint leaves it."""
  shutil.copytree(run, folder)
  for path in (folder / "checkpoints").iterdir():
    if path.name.isdigit() and int(path.name) > after:
      shutil.rmtree(path)
  return folder


def test_a_run_names_and_counts_them(run, good, order, bad):
  source = good.source("train")
  named, total = [], {}
  for step in range(1, STEPS + 1):
    places = range((step - 1) * SIZE, step * SIZE)
    ids = [
      # Of a broken image's record the id can be read.
      source[order[p]].listing_id
      if order[p] == order[BROKEN]
      else f"train[{order[p]}]"
      for p in places
      if order[p] in bad
    ]
    if ids:
      named.append({"step": step, "kind": "bad_record", "listing_ids": ids})
    total[step] = sum(len(row["listing_ids"]) for row in named)
  assert rows_of(run, "bad_record") == named
  for row in rows_of(run, "train"):
    assert row["bad_records"] == total[row["step"]]
  assert total[STEPS] >= 8


def test_a_run_names_who_was_in_a_spike(run, expected, good):
  spikes = rows_of(run, "spike")
  assert spikes
  assert rows_of(run, "train")[-1]["spikes"] == len(spikes)
  product = {r.listing_id: r.product_id for r in good.source("train")}
  for row in spikes:
    assert row["step"] > 8
    assert row["gradient_norm"] > row["threshold"]
    hashes = [zlib.crc32(product[i].encode()) for i in row["listing_ids"]]
    assert hashes == expected[row["step"] - 1].product_B.tolist()


def test_a_resumed_run_counts_the_same(run, damaged, tmp_path):
  again = resumable(run, tmp_path / "again", after=12)
  train(config_of(damaged), again)
  assert rows_of(again) == rows_of(run)
  states = []
  for workdir in (run, again):
    checkpoints = Checkpoints(workdir, read_only=True)
    folder = checkpoints.folder / str(STEPS)
    checkpoints.close()
    states.append(_arrays(folder))
  jax.tree.map(np.testing.assert_array_equal, *states)


def _arrays(folder):
  import orbax.checkpoint as ocp

  with ocp.PyTreeCheckpointer() as reader:
    return reader.restore(folder / "default")


def test_what_a_spike_is_may_not_change(run, damaged):
  config = config_of(damaged)
  config.optim.spike = 9.0
  with pytest.raises(UserError, match=r"optim\.spike"):
    train(config, run)


def test_too_many_end_the_run(damaged, tmp_path):
  words = shell.train_words(
    damaged.path,
    tmp_path / "run",
    "--config.data.max_bad_fraction=0",
    variant="roberta",
  )
  output = shell.run(*words, code=4)
  assert "data.max_bad_fraction=0" in output
  assert "train[" in output
