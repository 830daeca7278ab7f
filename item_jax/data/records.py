"""Records in, a folder of array_record shards out; and back, by number."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.data.example import Example
from item_jax.errors import UserError

FORMAT = 1  # of the folder; counted up when older readers would go wrong
SPLITS = ("train", "val", "test")  # a catalogue may have others beside them
SHARD_BYTES = 200_000_000
CATALOGUE = "catalogue.json"  # written last: no such file, not finished
TOKENIZER = "tokenizer.json"
REJECTED = "rejected.csv"
_NAME = "catalogue"


def in_order(splits: Iterable[str]) -> list[str]:
  """Names of splits: the three known ones first, then others by name."""
  splits = set(splits)
  known = [split for split in SPLITS if split in splits]
  return known + sorted(splits - set(SPLITS))


class Record(NamedTuple):
  """One listing as it is stored."""

  listing_id: str
  product_id: str
  title: str  # "" when missing
  category: str  # a path with " > "; "" when missing
  image: bytes  # JPEG; b"" when missing


class StoreWriter:
  """Writes records, in the order given, as a TFDS array_record dataset."""

  def __init__(self, folder: str | os.PathLike):
    self._folder = Path(folder)
    self._splits: dict[str, _SplitWriter] = {}

  def add(self, split: str, record: Record) -> None:
    if split not in self._splits:
      self._splits[split] = _SplitWriter(self._folder, split)
    self._splits[split].add(record)

  def close(self) -> dict[str, str]:
    """Ends the shards, writes the metadata, gives each split's fingerprint.

    A fingerprint is the SHA-256 (hex) over all fields of all records.
    """
    import tensorflow_datasets as tfds

    info = tfds.core.DatasetInfo(
      builder=tfds.core.DatasetIdentity(
        name=_NAME,
        version=tfds.core.Version(f"{FORMAT}.0.0"),
        data_dir=os.fspath(self._folder),
        module_name="",
      ),
      description="Listings of a product catalogue: title and photo.",
      # Text is what TFDS calls bytes: as an Image a missing photo (no bytes)
      # could not be told apart from a broken one.
      features=tfds.features.FeaturesDict(
        {field: tfds.features.Text() for field in Record._fields}
      ),
    )
    info.set_file_format("array_record")
    written = [self._splits[split] for split in in_order(self._splits)]
    infos = []
    for split in written:
      split.close()
      infos.append(
        tfds.core.SplitInfo(
          name=split.name,
          shard_lengths=split.shard_lengths,
          num_bytes=split.num_bytes,
          filename_template=tfds.core.ShardedFileTemplate(
            data_dir=self._folder,
            dataset_name=_NAME,
            split=split.name,
            filetype_suffix="array_record",
          ),
        )
      )
    info.set_splits(tfds.core.SplitDict(infos))
    info.write_to_directory(self._folder)
    return {split.name: split.fingerprint.hexdigest() for split in written}


class _SplitWriter:
  """The shards of one split: bounded in bytes, numbered once all are there."""

  def __init__(self, folder, name):
    self._folder = folder
    self.name = name
    self.shard_lengths: list[int] = []
    self.num_bytes = 0
    self.fingerprint = hashlib.sha256()
    self._writer = None
    self._room = 0

  def add(self, record):
    data = _serialize(record)
    if self._writer is None or self._room < len(data):
      self._open()
    self._writer.write(data)
    self._room -= len(data)
    self.num_bytes += len(data)
    self.shard_lengths[-1] += 1
    for value in _values(record):
      # With its length, so that no two different records read the same.
      self.fingerprint.update(len(value).to_bytes(8, "little"))
      self.fingerprint.update(value)

  def _open(self):
    from array_record.python import array_record_module

    if self._writer is not None:
      self._writer.close()
    path = self._folder / f"{self.name}-{len(self.shard_lengths)}.part"
    # One record a group for random access; JPEG doesn't compress further.
    self._writer = array_record_module.ArrayRecordWriter(
      os.fspath(path), "group_size:1,uncompressed"
    )
    self._room = SHARD_BYTES
    self.shard_lengths.append(0)

  def close(self):
    self._writer.close()
    shards = len(self.shard_lengths)
    for shard in range(shards):
      part = self._folder / f"{self.name}-{shard}.part"
      part.rename(self._folder / _shard_name(self.name, shard, shards))


def _shard_name(split, shard, shards):
  return f"{_NAME}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def _values(record):
  return [v if isinstance(v, bytes) else v.encode() for v in record]


def _serialize(record):
  """The bytes of the tf.train.Example that TFDS expects."""
  example = Example()
  for field, value in zip(Record._fields, _values(record), strict=True):
    example.features.feature[field].bytes_list.value.append(value)
  return example.SerializeToString(deterministic=True)


def open_store(path: str | os.PathLike) -> "Store":
  """Opens what `item-jax prepare` wrote.

  Raises:
    FileNotFoundError: no such folder, or nothing finished in it.
    UserError: it was written in another format.
  """
  path = Path(path)
  if not path.is_dir():
    raise FileNotFoundError(f"no prepared data {path}: there is no such folder")
  file = path / CATALOGUE
  if not file.is_file():
    raise FileNotFoundError(
      f"{path} holds no finished data: it has no {CATALOGUE}; write it with"
      " item-jax prepare"
    )
  catalogue = json.loads(file.read_text(encoding="utf-8"))
  if catalogue.get("format") != FORMAT:
    raise UserError(
      f"{path} is of data format {catalogue.get('format')}, this version of"
      f" item-jax reads format {FORMAT}: prepare the catalogue again"
    )
  return Store(path, catalogue)


class Store:
  """A prepared catalogue: what is known of it, and its records by number."""

  def __init__(self, path: Path, catalogue: dict[str, Any]):
    self.path = path
    self.catalogue = catalogue
    self.fingerprints: dict[str, str] = catalogue["fingerprint"]
    info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
    self._shards = {
      split["name"]: [int(length) for length in split["shardLengths"]]
      for split in info["splits"]
    }
    self.sizes = {name: sum(shard) for name, shard in self._shards.items()}

  def source(self, split: str) -> "Source":
    """Random access to a split.

    Raises:
      UserError: there is no such split.
    """
    if split not in self._shards:
      raise UserError(
        f"{self.path} has no split {split!r}, it has"
        f" {', '.join(in_order(self._shards)) or 'none'}"
      )
    lengths = self._shards[split]
    return Source(
      [
        _Shard(str(self.path / _shard_name(split, n, len(lengths))), length)
        for n, length in enumerate(lengths)
      ]
    )


class _Shard(NamedTuple):
  """A file and its length, as array_record asks for them."""

  filename: str
  examples_in_shard: int
  skip: int = 0

  @property
  def take(self):
    return self.examples_in_shard


class Source:
  """source[i] is record i of a split; for any thread, and can be pickled."""

  def __init__(self, shards: list[_Shard]):
    from array_record.python import array_record_data_source

    self._raw = array_record_data_source.ArrayRecordDataSource(shards)

  def __len__(self) -> int:
    return len(self._raw)

  def __getitem__(self, number: int) -> Record:
    if number < 0:  # what array_record would take for an error of its own
      number += len(self)
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    example = Example.FromString(self._raw[number])
    feature = example.features.feature
    *texts, image = (
      feature[field].bytes_list.value[0] for field in Record._fields
    )
    return Record(*(text.decode() for text in texts), image)

  def __iter__(self) -> Iterator[Record]:
    return (self[number] for number in range(len(self)))
