"""Laws of the store: what was written is read, by anybody, from anywhere."""

import concurrent.futures
import json
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest

from item_jax.data import records
from item_jax.data.records import (
  BadRecord,
  Record,
  in_order,
  open_dataset,
)
from item_jax.errors import UserError
from item_jax.files import MANIFEST, CorruptError, write_manifest
from item_jax.ingest import writer
from item_jax.ingest.writer import DatasetWriter


def some_records(count, seed=0):
  rng = np.random.default_rng(seed)
  return [
    Record(
      f"l{n}",
      f"p{n // 2}",
      "" if n % 5 == 4 else f"Täschchen ☃ {n}",
      "a > b",
      b"" if n % 3 == 2 else rng.bytes(int(rng.integers(1, 4000))),
    )
    for n in range(count)
  ]


def write(folder, splits):
  folder.mkdir()
  store = DatasetWriter(folder)
  longest = max(map(len, splits.values()))
  for n in range(longest):  # splits mixed, as in a catalogue
    for split, rows in splits.items():
      if n < len(rows):
        store.add(split, rows[n])
  fingerprint = store.close()
  (folder / records.CATALOGUE).write_text(
    json.dumps({"format": records.FORMAT, "fingerprint": fingerprint})
  )
  write_manifest(folder)
  return open_dataset(folder)


@pytest.fixture
def splits():
  return {
    "test": some_records(7, 1),
    "train": some_records(40),
    "other": some_records(1, 2),
  }


def test_what_was_written_is_read(tmp_path, splits):
  store = write(tmp_path / "data", splits)
  assert store.sizes == {"train": 40, "test": 7, "other": 1}
  for split, rows in splits.items():
    source = store.source(split)
    assert len(source) == len(rows)
    assert [source[n] for n in range(len(rows))] == rows
    assert list(source) == rows
    assert source[-1] == rows[-1]
    assert source[np.int64(0)] == rows[0]
    for beyond in (len(rows), -len(rows) - 1):
      with pytest.raises(IndexError, match=str(len(rows))):
        source[beyond]


def test_shards_are_bounded_and_read_as_one(tmp_path, splits, monkeypatch):
  monkeypatch.setattr(writer, "SHARD_BYTES", 10_000)
  store = write(tmp_path / "data", splits)
  shards = sorted((tmp_path / "data").glob("*train.array_record*"))
  assert len(shards) > 3
  assert shards[-1].name.endswith(f"{len(shards) - 1:05d}-of-{len(shards):05d}")
  assert not list((tmp_path / "data").glob("*.part"))
  assert list(store.source("train")) == splits["train"]


MANY_SHARDS = """
import resource, sys
from item_jax.data.records import open_dataset

def limit(soft, hard):
  resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

store = open_dataset(sys.argv[1])
limit(100, 500)
print(len(list(store.source("train"))), "read")
source = store.source("train")
limit(50, 500)
try:
  list(source)
except OSError as error:
  print(error.strerror)
limit(200, 200)
try:
  store.source("train")
except ValueError as error:
  print(error)
"""


def test_more_shards_than_a_process_may_open(tmp_path, monkeypatch):
  """Of a file that it cannot open the library says that it is empty: no good
  record may be called bad for it."""
  monkeypatch.setattr(writer, "SHARD_BYTES", 1)
  write(tmp_path / "data", {"train": some_records(120)})
  done = subprocess.run(
    [sys.executable, "-c", MANY_SHARDS, tmp_path / "data"],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  first, second, third = done.stdout.splitlines()
  assert first == "120 read"
  assert second == "Too many open files"
  assert "this process may open 200: raise the limit (ulimit -n 376)" in third


def test_tfds_opens_it(tmp_path, splits, monkeypatch):
  monkeypatch.setattr(writer, "SHARD_BYTES", 10_000)
  write(tmp_path / "data", splits)
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(tmp_path / "data"))
  assert set(builder.info.splits) == set(splits)
  for split, rows in splits.items():
    source = builder.as_data_source(split)
    assert len(source) == len(rows)
    for seen, row in zip(source, rows, strict=True):
      *texts, image = row
      expected = [text.encode() for text in texts] + [image]
      assert [seen[field] for field in Record._fields] == expected


def test_sources_can_be_copied_and_shared_by_threads(tmp_path, splits):
  source = write(tmp_path / "data", splits).source("train")
  assert source[3] == splits["train"][3]
  copy = deepcopy(source)
  numbers = np.random.default_rng(0).integers(0, 40, 2000).tolist()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    seen = list(pool.map(copy.__getitem__, numbers))
  assert seen == [splits["train"][n] for n in numbers]


def test_files_and_fingerprints_are_functions_of_the_records(tmp_path, splits):
  first = write(tmp_path / "a", splits)
  second = write(tmp_path / "b", splits)
  assert first.fingerprints == second.fingerprints
  for file in (tmp_path / "a").iterdir():
    assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
  record = splits["train"][0]
  for changed in (
    record._replace(title=record.title + "x"),
    record._replace(listing_id="l0p", product_id="0"),  # same letters, moved
    record._replace(image=record.image + b"\0"),
  ):
    name = f"changed-{changed.title}-{changed.listing_id}-{len(changed.image)}"
    other = write(
      tmp_path / name, splits | {"train": [changed, *splits["train"][1:]]}
    )
    assert other.fingerprints["train"] != first.fingerprints["train"]
    assert other.fingerprints["test"] == first.fingerprints["test"]


def test_order_of_splits():
  assert in_order(["b", "test", "a", "train"]) == ["train", "test", "a", "b"]


def test_an_absent_split_names_those_there(tmp_path, splits):
  store = write(tmp_path / "data", splits)
  with pytest.raises(ValueError, match=r"'val'.* train, test, other"):
    store.source("val")


@pytest.mark.parametrize(
  ("said", "found"), [({"format": 99, "fingerprint": {}}, 99), ([], None)]
)
def test_another_format_names_both(tmp_path, splits, said, found):
  write(tmp_path / "data", splits)
  (tmp_path / "data" / records.CATALOGUE).write_text(json.dumps(said))
  write_manifest(tmp_path / "data")
  with pytest.raises(UserError, match=rf"format {found}.*format 1"):
    open_dataset(tmp_path / "data")


def test_unfinished_data_is_not_opened(tmp_path, splits):
  write(tmp_path / "data", splits)
  (tmp_path / "data" / records.CATALOGUE).unlink()
  with pytest.raises(FileNotFoundError, match="no finished data"):
    open_dataset(tmp_path / "data")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    open_dataset(tmp_path / "elsewhere")


def test_neither_tensorflow_nor_jax_is_imported(tmp_path, splits):
  write(tmp_path / "data", splits)
  script = (
    "import sys; from item_jax.data.records import open_dataset\n"
    f"open_dataset({str(tmp_path / 'data')!r}).source('train')[0]\n"
    "import item_jax.ingest.prepare\n"
    "print(sorted({'jax', 'tensorflow', 'torch'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"


def shard_of(store, split="train"):
  [path] = store.path.glob(f"*-{split}.array_record*")
  return path


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def bits_of(data: bytes) -> list[int]:
  """Of headers, index and end of a shard every fourth bit, of records some."""
  rng = np.random.default_rng(0)
  used = [n for n, byte in enumerate(data) if byte]
  heads = [*range(110), *range(65_536, max(used) + 1)]
  anywhere = rng.integers(0, len(data), 300).tolist()
  index = max(n for n in used if n < 65_536)  # the last of the block before
  places = {*heads, *range(index - 400, index), *anywhere}
  return sorted(8 * n + bit for n in places for bit in range(n % 4, 8, 4))


def test_no_flipped_bit_gives_a_wrong_record(tmp_path, monkeypatch):
  """array_record must notice all of them: records carry no sum of their own.

  In a process of its own with little memory, because the lengths in a shard's
  headers say how much is taken.
  """
  rows = some_records(12)
  shard = shard_of(write(tmp_path / "data", {"train": rows}))
  bits = bits_of(shard.read_bytes())
  (tmp_path / "bits").write_text(json.dumps(bits))
  script = f"""
import json, resource
from pathlib import Path
from item_jax.data.records import BadRecord, Source
shard = Path({str(shard)!r})
data = bytearray(shard.read_bytes())
right = list(Source([(shard, 12)]))
size = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + 2**31
resource.setrlimit(resource.RLIMIT_AS, (size, size))
noticed = 0
for bit in json.loads(Path({str(tmp_path / "bits")!r}).read_text()):
  data[bit // 8] ^= 1 << bit % 8
  shard.write_bytes(data)
  data[bit // 8] ^= 1 << bit % 8
  source = Source([(shard, 12)])
  for number, record in enumerate(right):
    try:
      assert source[number] == record, (bit, number)
    except BadRecord as error:
      assert f"{{shard}}: record {{number}} " in str(error), error
      noticed += 1
print(noticed)
"""
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, timeout=200
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) > len(bits) / 3


def test_one_bad_record_is_named_and_the_others_are_read(tmp_path, splits):
  source = write(tmp_path / "data", splits).source("train")
  shard = shard_of(open_dataset(tmp_path / "data"))
  place = shard.read_bytes().index(splits["train"][3].image)
  flip(shard, 8 * place)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for copy in (source, deepcopy(source)):

      def read(number, copy=copy):
        try:
          return copy[number]
        except BadRecord as error:
          return str(error)

      seen = list(pool.map(read, range(40)))
      assert seen[3].startswith(f"{shard}: record 3 (of the split: 3)")
      assert seen[:3] + seen[4:] == splits["train"][:3] + splits["train"][4:]


def test_the_record_is_named_in_its_shard(tmp_path, splits, monkeypatch):
  monkeypatch.setattr(writer, "SHARD_BYTES", 10_000)
  source = write(tmp_path / "data", splits).source("train")
  shards = sorted((tmp_path / "data").glob("*train.array_record*"))
  info = json.loads((tmp_path / "data" / "dataset_info.json").read_text())
  [lengths] = [
    split["shardLengths"]
    for split in info["splits"]
    if len(shards) > 1 and split["name"] == "train"
  ]
  before = int(lengths[0])
  shards[1].write_bytes(b"")
  with pytest.raises(BadRecord, match=rf"{shards[1].name}: record 2 "):
    source[before + 2]
  assert source[before - 1] == splits["train"][before - 1]


def parts(data):
  """Two shards' worth of damage that hashes of single records don't show."""
  ends = bytearray(data)
  ends[-65_536:], ends[:65_536] = data[:65_536], data[-65_536:]
  return {"ends swapped": bytes(ends), "cut": data[:-1], "zeros": bytes(9999)}


@pytest.mark.parametrize("damage", ["ends swapped", "cut", "zeros"])
def test_a_shard_without_its_index_has_no_records(tmp_path, splits, damage):
  source = write(tmp_path / "data", splits).source("train")
  shard = shard_of(open_dataset(tmp_path / "data"))
  shard.write_bytes(parts(shard.read_bytes())[damage])
  for number in (0, 39):
    with pytest.raises(BadRecord, match=shard.name):
      source[number]


@pytest.mark.parametrize("change", ["add", "delete", "truncate", "flip"])
def test_a_damaged_store_is_not_opened(tmp_path, splits, change):
  store = write(tmp_path / "data", splits)
  for file in sorted(store.path.iterdir()):
    before = file.read_bytes()
    name = file.name
    if change == "flip":
      flip(file, 4 * len(before))  # in the middle
    elif change == "truncate":
      file.write_bytes(before[:-1])
    elif change == "delete":
      file.unlink()
    else:
      name += ".copy"
      file.with_name(name).write_bytes(before)
    with pytest.raises((UserError, FileNotFoundError), match=name):
      open_dataset(store.path)
    file.with_name(name).unlink(missing_ok=True)
    file.write_bytes(before)
  open_dataset(store.path)


def test_of_large_files_only_the_size_is_compared(
  tmp_path, splits, monkeypatch
):
  store = write(tmp_path / "data", splits)
  shard = shard_of(store)
  monkeypatch.setattr(records, "HASHED_BYTES", shard.stat().st_size - 1)
  flip(shard, 8 * shard.read_bytes().index(splits["train"][3].image))
  source = open_dataset(store.path).source("train")
  assert source[2] == splits["train"][2]
  with pytest.raises(BadRecord):
    source[3]
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(CorruptError, match=rf"{shard.name} was altered"):
    open_dataset(store.path)


def test_data_without_a_manifest_are_of_an_earlier_version(tmp_path, splits):
  store = write(tmp_path / "data", splits)
  (store.path / MANIFEST).unlink()
  with pytest.raises(CorruptError, match=rf"{MANIFEST} is missing.*again"):
    open_dataset(store.path)


@pytest.mark.parametrize(
  "claim",
  [
    {"shardLengths": ["1000000000000"]},
    {"shardLengths": ["-1"]},
    {"shardLengths": ["x"]},
    {"shardLengths": [float("inf")]},
    {"shardLengths": 40},
    {"shardLengths": ["41"], "name": "../data/train"},
  ],
)
def test_claims_of_a_store_are_compared_with_its_files(tmp_path, splits, claim):
  """Whoever makes up a data set can make up its manifest too."""
  store = write(tmp_path / "data", splits)
  file = store.path / "dataset_info.json"
  info = json.loads(file.read_text())
  [split] = [s for s in info["splits"] if s["name"] == "train"]
  split |= claim
  file.write_text(json.dumps(info))
  write_manifest(store.path)
  with pytest.raises((UserError, FileNotFoundError), match="dataset_info"):
    open_dataset(store.path)


def test_a_shard_of_other_length_has_no_records(tmp_path, splits):
  store = write(tmp_path / "data", splits)
  file = store.path / "dataset_info.json"
  file.write_text(file.read_text().replace('"40"', '"39"'))
  write_manifest(store.path)
  with pytest.raises(BadRecord, match="has 40 records, not 39"):
    open_dataset(store.path).source("train")[0]


def test_of_data_made_anew_under_its_name_no_record_is_read(tmp_path, splits):
  """The same numbers of records: rows of two data sets would be mixed."""
  store = write(tmp_path / "data", splits)
  begun, copied = store.source("train"), deepcopy(store.source("train"))
  assert begun[0] == splits["train"][0]
  (tmp_path / "data").rename(tmp_path / "old")
  others = {"test": some_records(7, 3), "train": some_records(40, 4)}
  write(tmp_path / "data", others | {"other": splits["other"]})
  for source in (store.source("test"), store.source("train"), copied):
    with pytest.raises(records.ReplacedError, match="made anew, or removed"):
      source[1]
  assert begun[1] == splits["train"][1]  # its file is open
