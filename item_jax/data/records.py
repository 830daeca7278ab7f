"""Opens prepared data sets and reads their records by number.

A data set is a folder of array_record shards. array_record keeps a 64-bit hash
of every record, of every header and of the index, and compares it before it
looks inside: a flipped bit is noticed when what it belongs to is read, so
records carry no checksum of their own.
"""

import bisect
import errno
import hashlib
import html
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from item_jax.data.example import Record, field_bytes, parse
from item_jax.data.summary import summarize
from item_jax.distributed.processes import allow_open_files
from item_jax.errors import NotFoundError, UserError, check_utf8
from item_jax.files import (
  MANIFEST,
  CorruptError,
  check_manifest,
  read_json,
  sha256,
)
from item_jax.object_store.copies import data_copy
from item_jax.remote import Address, locate

FORMAT = 1  # of the folder; counted up when older readers would go wrong
SPLITS = ("train", "val", "test")  # a catalogue may have others beside them
CATALOGUE = "catalogue.json"  # written last: no such file, not finished
TOKENIZER = "tokenizer.json"
REJECTED = "rejected.csv"
HASHED_BYTES = 4 << 20  # files up to this are read whole when a store is opened
NAME = "catalogue"
_OTHER_FILES = 256  # that a process has open beside the shards of a split
_INFO = "dataset_info.json"


def in_order(splits: Iterable[str]) -> list[str]:
  """Orders the names of splits: train, val, test, then others by name."""
  splits = set(splits)
  known = [split for split in SPLITS if split in splits]
  return known + sorted(splits - set(SPLITS))


class BadRecord(UserError):  # noqa: N818 - data, not a fault
  """A record is corrupt; the message names it and its shard."""


class ReplacedError(UserError):
  """Another data set has the name of the one that was opened."""


class Fingerprint:
  """Hashes all fields of records (SHA-256), in the order they are added."""

  def __init__(self):
    self._hash = hashlib.sha256()

  def add(self, record: Record) -> None:
    """Adds a record."""
    parts: list[bytes] = []
    for value in field_bytes(record):
      # With its length, so that no two different records hash the same.
      parts += (len(value).to_bytes(8, "little"), value)
    self._hash.update(b"".join(parts))

  def hexdigest(self) -> str:
    """Returns the hash in hexadecimal."""
    return self._hash.hexdigest()


def shard_name(split: str, shard: int, shards: int) -> str:
  """Names a shard as TFDS does."""
  return f"{NAME}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def open_dataset(path: "str | os.PathLike | Dataset") -> "Dataset":
  """Opens a data set that `item-jax prepare` wrote, and checks its files.

  One that is open already is returned as it is.

  Files of up to `HASHED_BYTES` are compared with the manifest byte by byte,
  larger ones by their size: their records are checked when they are read. A
  data set on an object store is first copied to this machine, because
  array_record reads local files only, and all of its bytes are compared then.

  Raises:
    NotFoundError: there is no such folder, or no finished data set in it.
    UserError: it has another format, or a file is not what was written
      (CorruptError, which names the file).
  """
  if isinstance(path, Dataset):
    return path
  path = locate(path, "data")
  if isinstance(path, Address):
    path = data_copy(path)
  check_utf8(path)
  if not path.is_dir():
    raise NotFoundError(f"no prepared data {path}: there is no such folder")
  file = path / CATALOGUE
  if not file.is_file():
    raise NotFoundError(
      f"{path} holds no finished data: it has no {CATALOGUE}; write it with"
      " item-jax prepare"
    )
  if not (path / MANIFEST).is_file():
    raise CorruptError(
      f"{path / MANIFEST} is missing: the data were prepared by an earlier"
      " version, or it was deleted; prepare the catalogue again"
    )
  check_manifest(path, largest=HASHED_BYTES)
  catalogue = read_json(file)
  found = catalogue.get("format") if isinstance(catalogue, dict) else None
  if found != FORMAT:
    raise UserError(
      f"{path} is of data format {found}, this version of"
      f" item-jax reads format {FORMAT}: prepare the catalogue again"
    )
  return Dataset(path, catalogue)


class Dataset:
  """A prepared catalogue: its statistics, and its records by number.

  path: of the folder. catalogue: what catalogue.json holds. sizes: {split: its
  records}. fingerprints: {split: SHA-256 of its records, hexadecimal}.
  """

  def __init__(self, path: Path, catalogue: dict[str, Any]):
    """Takes a folder and what its catalogue.json holds.

    Raises:
      UserError: the folder's files do not fit together.
    """
    self.path = path
    self.catalogue = catalogue
    self._manifest = _manifest_of(path)
    info = read_json(path / _INFO)
    try:
      self.fingerprints: dict[str, str] = dict(catalogue["fingerprint"])
      self._shards = {
        str(split["name"]): [int(length) for length in split["shardLengths"]]
        for split in info["splits"]
        if split["shardLengths"]  # without a shard it has no record
      }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
      raise UserError(
        f"{path}: {CATALOGUE} and {_INFO} are not what item-jax prepare writes"
        f" ({error!r})"
      ) from error
    self.sizes = {name: sum(shard) for name, shard in self._shards.items()}
    for name in self._shards:
      for file, length in self._files(name):
        # How many there are exactly is compared when the shard is opened.
        size = file.stat().st_size if file.parent == path else 0
        if not 0 < length <= size:
          raise UserError(
            f"{path / _INFO} states {length} records in {file}, which has"
            f" {size} bytes"
          )

  @property
  def counts(self) -> dict[str, int]:
    """Rows read, stored and rejected; and products."""
    found = self.catalogue
    return {
      "read": found["read"],
      "stored": found["rows"]["all"],
      "rejected": found["rejected"]["all"],
      "products": found["products"]["all"],
    }

  def to_dict(self) -> dict[str, Any]:
    """Returns path, sizes, counts and statistics as JSON can hold them."""
    return {
      "path": str(self.path),
      "sizes": self.sizes,
      "counts": self.counts,
      "catalogue": self.catalogue,
    }

  def __repr__(self) -> str:
    return f"Dataset({str(self.path)!r}, sizes={self.sizes})"

  def __str__(self) -> str:
    """The summary that `item-jax prepare` prints."""
    return summarize(self.catalogue)

  def _repr_html_(self) -> str:
    return f"<pre>{html.escape(str(self))}</pre>"

  def source(self, split: str) -> "Source":
    """Gives access to the records of a split by number.

    Raises:
      UserError: there is no such split.
    """
    if not isinstance(split, str) or split not in self._shards:
      raise UserError(
        f"{self.path} has no split {split!r}, it has"
        f" {', '.join(in_order(self._shards)) or 'none'}"
      )
    return Source(self._files(split), self._manifest)

  def _files(self, split: str) -> list[tuple[Path, int]]:
    """Lists the shards of a split, and how many records each must have."""
    lengths = self._shards[split]
    return [
      (self.path / shard_name(split, n, len(lengths)), length)
      for n, length in enumerate(lengths)
    ]


class Source:
  """Reads record i of a split: source[i]. Thread-safe; can be pickled."""

  def __init__(
    self, shards: list[tuple[Path, int]], manifest: str | None = None
  ):
    """Takes the files, how many records each must have, and `_manifest_of`."""
    self._shards = shards
    self._manifest = manifest
    self._ends = list(itertools.accumulate(length for _, length in shards))
    # Before threads read: two threads that import it can wait forever.
    import array_record.python.array_record_module  # noqa: F401

    allow_open_files(len(shards) + _OTHER_FILES)
    self._readers: list[Any] = [None] * len(shards)
    self._lock = threading.Lock()

  def __reduce__(self):
    return Source, (self._shards, self._manifest)

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, number: int) -> Record:
    """Reads record `number` of the split.

    Raises:
      BadRecord: it is corrupt.
      ReplacedError: another data set has the folder's name by now.
    """
    if not -len(self) <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    number = int(number) % len(self)
    shard = bisect.bisect_right(self._ends, number)
    path, length = self._shards[shard]
    position = number - self._ends[shard] + length
    try:
      # As a range: for a list of positions the library reads the whole index.
      return parse(self._reader(shard).read(position, position + 1)[0])
    # array_record raises no narrower errors.
    except (RuntimeError, ValueError, IndexError) as error:
      if isinstance(error, ReplacedError):
        raise
      raise BadRecord(
        f"{path}: record {position} (of the split: {number}) cannot be read:"
        f" {error}"
      ) from error

  def _reader(self, shard):
    if self._readers[shard] is None:
      with self._lock:
        if self._readers[shard] is None:
          path, length = self._shards[shard]
          if self._manifest not in (None, _manifest_of(path.parent)):
            raise ReplacedError(
              f"{path.parent} was made anew, or removed, while it was in use"
            )
          self._readers[shard] = _open_shard(path, length)
    return self._readers[shard]

  def __iter__(self) -> Iterator[Record]:
    return (self[number] for number in range(len(self)))


def _manifest_of(folder: Path) -> str:
  """The SHA-256 of the manifest, which has that of every file; "" for none."""
  path = folder / MANIFEST
  return sha256(path) if path.is_file() else ""


def _open_shard(path: Path, length: int):
  """Opens a shard.

  Raises:
    RuntimeError: it is corrupt or has another length.
    OSError: this process has too many files open: array_record would report
      that there are no records.
  """
  from array_record.python.array_record_module import ArrayRecordReader

  try:
    open(path, "rb").close()
  except OSError as error:
    if error.errno in (errno.EMFILE, errno.ENFILE):
      raise
  reader = ArrayRecordReader(
    os.fspath(path),
    options="readahead_buffer_size:0",  # the next record read is elsewhere
    file_reader_buffer_size=32_768,
  )
  found = reader.num_records()
  # For a file without its end the reader reports 0, not that it is corrupt.
  if found != length:
    raise RuntimeError(f"the file has {found} records, not {length}")
  return reader
