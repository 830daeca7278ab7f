"""Laws of the store: what was written is read, by anybody, from anywhere."""

import concurrent.futures
import json
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest

from item_jax.data import records
from item_jax.data.records import Record, StoreWriter, in_order, open_store
from item_jax.errors import UserError


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
  writer = StoreWriter(folder)
  longest = max(map(len, splits.values()))
  for n in range(longest):  # splits mixed, as in a catalogue
    for split, rows in splits.items():
      if n < len(rows):
        writer.add(split, rows[n])
  fingerprint = writer.close()
  (folder / records.CATALOGUE).write_text(
    json.dumps({"format": records.FORMAT, "fingerprint": fingerprint})
  )
  return open_store(folder)


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
  monkeypatch.setattr(records, "SHARD_BYTES", 10_000)
  store = write(tmp_path / "data", splits)
  shards = sorted((tmp_path / "data").glob("*train.array_record*"))
  assert len(shards) > 3
  assert shards[-1].name.endswith(f"{len(shards) - 1:05d}-of-{len(shards):05d}")
  assert not list((tmp_path / "data").glob("*.part"))
  assert list(store.source("train")) == splits["train"]


def test_tfds_opens_it(tmp_path, splits, monkeypatch):
  monkeypatch.setattr(records, "SHARD_BYTES", 10_000)
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


def test_another_format_names_both(tmp_path, splits):
  write(tmp_path / "data", splits)
  file = tmp_path / "data" / records.CATALOGUE
  file.write_text(json.dumps({"format": 99, "fingerprint": {}}))
  with pytest.raises(UserError, match=r"format 99.*format 1"):
    open_store(tmp_path / "data")


def test_unfinished_data_is_not_opened(tmp_path, splits):
  write(tmp_path / "data", splits)
  (tmp_path / "data" / records.CATALOGUE).unlink()
  with pytest.raises(FileNotFoundError, match="no finished data"):
    open_store(tmp_path / "data")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    open_store(tmp_path / "elsewhere")


def test_neither_tensorflow_nor_jax_is_imported(tmp_path, splits):
  write(tmp_path / "data", splits)
  script = (
    "import sys; from item_jax.data.records import open_store\n"
    f"open_store({str(tmp_path / 'data')!r}).source('train')[0]\n"
    "import item_jax.data.prepare\n"
    "print(sorted({'jax', 'tensorflow', 'torch'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
