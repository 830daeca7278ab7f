"""Batch k is a function of (seed, k) alone."""

import subprocess
import sys
import zlib

import jax
import numpy as np
import pytest
import tiny
from batches import FORM, assert_same, read, read_by_hosts

from item_jax.config import Config
from item_jax.data import order, pipeline
from item_jax.data.records import Record, open_dataset
from item_jax.data.tokenizer import Tokenizer, load_tokenizer, train_wordpiece
from item_jax.training import sharding

SIZE = 8
RUN = {"size": SIZE, "seed": 3}
CONFIG = Config(batch_size=SIZE, seed=3)
CONFIG.model.image_size = 16


@pytest.fixture(scope="module")
def store(tiny_data):
  return open_dataset(tiny_data)


@pytest.fixture(scope="module")
def tokenizer(tiny_data):
  return load_tokenizer(tiny_data / "tokenizer.json")


@pytest.fixture(scope="module")
def alone(store):
  return read(store, start=0, stop=5, **RUN)


def test_shapes_and_kinds(alone):
  batch = alone[0]
  assert batch.image_BHWC.shape == (SIZE, 16, 16, 3)
  assert batch.tokens_BT.shape == (SIZE, 10)
  kinds = [x.dtype.name for x in batch]
  assert kinds == ["uint8", "int32", "bool", "bool", *["uint32"] * 3, "bool"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_for_any_number_of_workers(store, alone, workers):
  assert_same(read(store, start=0, stop=5, workers=workers, **RUN), alone)


@pytest.mark.parametrize("start", [1, 4])
def test_the_same_from_any_step_on(store, alone, start):
  assert_same(read(store, start=start, stop=5, **RUN), alone[start:])


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_read_their_rows_of_the_same_batch(store, alone, hosts):
  assert_same(read_by_hosts(hosts, store, start=0, stop=5, **RUN), alone)


def test_a_run_goes_on_with_other_hosts_and_workers(store, alone):
  found = read(store, start=0, stop=2, **RUN)
  found += read_by_hosts(4, store, start=2, stop=3, **RUN)
  found += read_by_hosts(2, store, start=3, stop=4, workers=1, **RUN)
  assert_same([*found, *read(store, start=4, stop=5, **RUN)], alone)


@pytest.mark.parametrize(("data", "fsdp"), [(4, 1), (2, 2)])
def test_masks_do_not_depend_on_the_devices(tokenizer, alone, data, fsdp):
  """What is hidden and swapped is drawn over the whole global batch."""
  objective = tiny.make_objective(tiny.make_model(), tokenizer)

  @jax.jit
  def corrupt(batch):
    return objective.corrupt(jax.random.key(3), 4, batch)

  mesh = sharding.make_mesh(data, fsdp)
  spread = sharding.to_devices(mesh, SIZE, alone[4])
  jax.tree.map(
    np.testing.assert_array_equal, corrupt(spread), corrupt(alone[4])
  )


def test_another_seed_another_order(store, alone):
  other = read(store, start=0, stop=5, **(RUN | {"seed": 4}))
  assert (other[0].product_B != alone[0].product_B).any()


def test_every_pass_holds_each_row_once_in_another_order(store):
  size = store.sizes["train"]
  steps = range(-(-2 * size // SIZE))
  ids = [x for step in steps for x in order.listing_ids(CONFIG, store, step)]
  all_ids = sorted(record.listing_id for record in store.source("train"))
  first, second = ids[:size], ids[size : 2 * size]
  assert sorted(first) == all_ids
  assert sorted(second) == all_ids
  assert first != second


def test_listing_ids_are_those_of_the_batch(store, alone):
  product = {r.listing_id: r.product_id for r in store.source("train")}
  for step in (0, 4):
    ids = order.listing_ids(CONFIG, store, step)
    hashes = [zlib.crc32(product[i].encode()) for i in ids]
    assert hashes == alone[step].product_B.tolist()


def test_in_order_every_row_once_and_the_last_batch_filled(store, tokenizer):
  size = store.sizes["train"]
  found = list(
    pipeline.ordered_batches(
      store,
      "train",
      tokenizer,
      batch_size=7,
      chosen=range(3, size),
      **FORM,
    )
  )
  assert {len(b.product_B) for b in found} == {7}
  want = [zlib.crc32(r.product_id.encode()) for r in store.source("train")][3:]
  got = np.concatenate([b.product_B for b in found]).tolist()
  assert got[: size - 3] == want
  assert set(got[size - 3 :]) <= {want[-1]}


def test_a_missing_side_is_marked():
  tokenizer = Tokenizer(train_wordpiece(["red red mug mug"]).to_str())
  row = pipeline.make_row(
    Record("a", "p", "", "", b""),
    tokenizer=tokenizer,
    image_size=8,
    max_title_tokens=4,
  )
  assert not row.has_image_B
  assert not row.has_title_B
  row = pipeline.make_row(
    Record("a", "p", "red mug", "", b""),
    tokenizer=tokenizer,
    image_size=8,
    max_title_tokens=4,
  )
  assert row.has_title_B


READ = """
import sys
from item_jax.data.records import open_dataset
source = open_dataset(sys.argv[1]).source("train")
before = set(sys.modules)
source[0]
print(sorted({m.split(".")[0] for m in set(sys.modules) - before}))
print("tensorflow_datasets" in sys.modules)
"""


def test_reading_a_record_imports_nothing(tiny_data):
  """Threads read; two of them importing one package can wait forever."""
  done = subprocess.run(
    [sys.executable, "-c", READ, str(tiny_data)],
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.split("\n")[:2] == ["[]", "False"]
