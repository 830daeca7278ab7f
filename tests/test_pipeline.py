"""Batch k is a function of (seed, k) alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from item_jax.data import order, pipeline
from item_jax.data.records import open_store
from item_jax.data.tokenizer import load_words
from item_jax.training import sharding

SIZE = 8


@pytest.fixture(scope="module")
def parts(tiny_data):
  return open_store(tiny_data), load_words(tiny_data / "tokenizer.json")


def batches(parts, start=0, stop=5, seed=3, **options):
  store, words = parts
  return list(
    pipeline.training_batches(
      store,
      "train",
      words,
      image_size=16,
      title_places=10,
      batch_size=SIZE,
      seed=seed,
      start=start,
      stop=stop,
      **options,
    )
  )


def same(a, b):
  assert len(a) == len(b)
  for x, y in zip(a, b, strict=True):
    for p, q in zip(x, y, strict=True):
      np.testing.assert_array_equal(p, q)


@pytest.fixture(scope="module")
def alone(parts):
  return batches(parts)


def test_shapes_and_kinds(alone):
  batch = alone[0]
  assert batch.image_BHWC.shape == (SIZE, 16, 16, 3)
  assert batch.words_BT.shape == (SIZE, 10)
  kinds = [x.dtype.name for x in batch]
  assert kinds == ["uint8", "int32", "bool", "bool", *["uint32"] * 3, "bool"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_for_any_number_of_workers(parts, alone, workers):
  same(batches(parts, workers=workers), alone)


def test_the_same_from_any_step_on(parts, alone):
  for start in (1, 4):
    same(batches(parts, start=start), alone[start:])


def by_hosts(parts, hosts, **options):
  """Global batches, put together from what each of `hosts` reads."""
  share = SIZE // hosts
  read = [
    batches(parts, host_rows=slice(h * share, (h + 1) * share), **options)
    for h in range(hosts)
  ]
  return [
    type(rows[0])(*(np.concatenate(x) for x in zip(*rows, strict=True)))
    for rows in zip(*read, strict=True)
  ]


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_read_their_rows_of_the_same_batch(parts, alone, hosts):
  same(by_hosts(parts, hosts), alone)


def test_a_run_goes_on_with_other_hosts_and_workers(parts, alone):
  read = batches(parts, stop=2, workers=1)
  read += by_hosts(parts, 4, start=2, stop=3)
  read += by_hosts(parts, 2, start=3, stop=4, workers=1)
  same([*read, *batches(parts, start=4)], alone)


@pytest.mark.parametrize(("data", "fsdp"), [(4, 1), (2, 2)])
def test_masks_do_not_depend_on_the_devices(parts, alone, data, fsdp):
  """What is hidden and swapped is drawn over the whole global batch."""
  _, words = parts
  objective = tiny.make_objective(
    tiny.make_model(),
    vocabulary=words.size,
    special=words.special,
    mask_word=words.mask,
  )

  @jax.jit
  def corrupt(batch):
    return objective.corrupt(jax.random.key(3), 4, batch)

  mesh = sharding.make_mesh(data, fsdp)
  spread = sharding.to_devices(mesh, SIZE, alone[4])
  jax.tree.map(
    np.testing.assert_array_equal, corrupt(spread), corrupt(alone[4])
  )


def test_another_seed_another_order(parts, alone):
  other = batches(parts, seed=4)
  assert (other[0].product_B != alone[0].product_B).any()


def test_every_pass_holds_each_row_once_in_another_order(parts):
  store, _ = parts
  size = store.sizes["train"]
  steps = -(-2 * size // SIZE)
  ids = []
  for step in range(steps):
    ids += order.listing_ids(
      store, "train", image_size=16, batch_size=SIZE, seed=3, step=step
    )
  all_ids = sorted(record.listing_id for record in store.source("train"))
  first, second = ids[:size], ids[size : 2 * size]
  assert sorted(first) == all_ids
  assert sorted(second) == all_ids
  assert first != second


def test_listing_ids_are_those_of_the_batch(parts, alone):
  import zlib

  store, _ = parts
  product = {r.listing_id: r.product_id for r in store.source("train")}
  for step in (0, 4):
    ids = order.listing_ids(
      store, "train", image_size=16, batch_size=SIZE, seed=3, step=step
    )
    hashes = [zlib.crc32(product[i].encode()) for i in ids]
    assert hashes == alone[step].product_B.tolist()


def test_in_order_every_row_once_and_the_last_batch_filled(parts):
  store, words = parts
  size = store.sizes["train"]
  read = list(
    pipeline.ordered_batches(
      store,
      "train",
      words,
      image_size=16,
      title_places=10,
      batch_size=7,
      start_row=3,
    )
  )
  assert {len(b.product_B) for b in read} == {7}
  import zlib

  want = [zlib.crc32(r.product_id.encode()) for r in store.source("train")][3:]
  got = np.concatenate([b.product_B for b in read]).tolist()
  assert got[: size - 3] == want
  assert set(got[size - 3 :]) <= {want[-1]}


def test_a_missing_side_is_marked():
  from item_jax.data.records import Record
  from item_jax.data.tokenizer import Words, train_wordpiece

  words = Words(train_wordpiece(["red red mug mug"]).to_str())
  row = pipeline.make_row(
    Record("a", "p", "", "", b""), words=words, image_size=8, title_places=4
  )
  assert not row.has_image_B
  assert not row.has_title_B
  row = pipeline.make_row(
    Record("a", "p", "red mug", "", b""),
    words=words,
    image_size=8,
    title_places=4,
  )
  assert row.has_title_B


READ = """
import sys
from item_jax.data.records import open_store
source = open_store(sys.argv[1]).source("train")
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


WORKERS = """
import sys, time
from item_jax.data import pipeline
from item_jax.data.records import open_store
from item_jax.data.tokenizer import load_words
if __name__ == "__main__":
  data = sys.argv[1]
  batches = pipeline.training_batches(
    open_store(data), "train", load_words(data + "/tokenizer.json"),
    image_size=16, title_places=10, batch_size=8, seed=0, start=0,
    stop=10**6, workers=2)
  next(batches)
  print("ready", flush=True)
  time.sleep(60)
"""


def test_no_worker_outlives_its_parent(tiny_data, tmp_path):
  script = tmp_path / "workers.py"
  script.write_text(WORKERS)
  process = subprocess.Popen(
    [sys.executable, str(script), str(tiny_data)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  children = _descendants(process.pid)
  assert len(children) >= 2
  process.kill()
  process.wait()
  deadline = time.monotonic() + 5
  while any(_alive(pid) for pid in children):
    assert time.monotonic() < deadline, "a worker lives on"
    time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
  found = []
  for path in Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = path.read_text().rsplit(")", 1)[1].split()
    except OSError:
      continue
    if int(fields[1]) == pid:
      child = int(path.parent.name)
      found += [child, *_descendants(child)]
  return found


def _alive(pid: int) -> bool:
  try:
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
  except OSError:
    return False
  return state != "Z" and os.path.exists(f"/proc/{pid}")
