"""Writes records as a folder of array_record shards that TFDS opens."""

import contextlib
import os
from pathlib import Path

from item_jax.data.example import Serializer
from item_jax.data.records import (
  FORMAT,
  NAME,
  Fingerprint,
  Record,
  in_order,
  shard_name,
)

SHARD_BYTES = 200_000_000


class DatasetWriter:
  """Writes records as a TFDS array_record dataset, in the order of `add`."""

  def __init__(self, folder: str | os.PathLike):
    self._folder = Path(folder)
    self._splits: dict[str, _SplitWriter] = {}

  def add(self, split: str, record: Record) -> None:
    """Writes a record as the next one of a split."""
    if split not in self._splits:
      self._splits[split] = _SplitWriter(self._folder, split)
    self._splits[split].add(record)

  def close(self) -> dict[str, str]:
    """Closes the shards and writes the metadata.

    Returns:
      {split: the fingerprint of its records, as `Fingerprint` has it}.
    """
    written = [self._splits[split] for split in in_order(self._splits)]
    for split in written:
      split.close()
    write_info(
      self._folder, {s.name: (s.shard_lengths, s.num_bytes) for s in written}
    )
    return {split.name: split.fingerprint.hexdigest() for split in written}


def write_info(folder: Path, written: dict[str, tuple[list[int], int]]) -> None:
  """Writes TFDS's metadata beside the shards.

  Args:
    written: {split: (the number of records of each shard, the bytes of all)}.
  """
  import tensorflow_datasets as tfds

  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=NAME,
      version=tfds.core.Version(f"{FORMAT}.0.0"),
      data_dir=os.fspath(folder),
      module_name="",
    ),
    # On disk in every data set: the text stays.
    description="Listings of a product catalogue: title and photo.",
    # TFDS reads bytes as Text: as an Image, a missing image (no bytes) could
    # not be told from a corrupt one.
    features=tfds.features.FeaturesDict(
      {field: tfds.features.Text() for field in Record._fields}
    ),
  )
  info.set_file_format("array_record")
  infos = [
    tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=num_bytes,
      filename_template=tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(folder),
        dataset_name=NAME,
        split=split,
        filetype_suffix="array_record",
      ),
    )
    for split, (lengths, num_bytes) in written.items()
  ]
  info.set_splits(tfds.core.SplitDict(infos))
  info.write_to_directory(folder)


class _SplitWriter:
  """Writes the shards of a split: bounded in bytes, numbered at the end."""

  def __init__(self, folder, name):
    self._folder = folder
    self.name = name
    self.shard_lengths: list[int] = []
    self.num_bytes = 0
    self.fingerprint = Fingerprint()
    self._serialize = Serializer()
    self._writer: ShardWriter | None = None
    self._room = 0

  def add(self, record):
    data = self._serialize(record)
    writer = self._writer
    if writer is None or self._room < len(data):
      writer = self._open()
    writer.write(data)
    self._room -= len(data)
    self.num_bytes += len(data)
    self.shard_lengths[-1] += 1
    self.fingerprint.add(record)

  def _open(self) -> "ShardWriter":
    if self._writer is not None:
      self._writer.close()
    path = self._folder / f"{self.name}-{len(self.shard_lengths)}.part"
    self._writer = writer = ShardWriter(path)
    self._room = SHARD_BYTES
    self.shard_lengths.append(0)
    return writer

  def close(self):
    assert self._writer is not None  # it has a record
    self._writer.close()
    shards = len(self.shard_lengths)
    for shard in range(shards):
      part = self._folder / f"{self.name}-{shard}.part"
      part.rename(self._folder / shard_name(self.name, shard, shards))


class ShardWriter:
  """Writes an array_record file.

  Raises:
    OSError: the disk does not take it; any method raises it.
  """

  def __init__(self, path: str | os.PathLike):
    from array_record.python.array_record_module import ArrayRecordWriter

    # One record a group for random access; JPEG doesn't compress further.
    with _disk_errors():
      self._writer = ArrayRecordWriter(
        os.fspath(path), "group_size:1,uncompressed"
      )

  def write(self, data: bytes) -> None:
    with _disk_errors():
      self._writer.write(data)

  def close(self) -> None:
    with _disk_errors():
      self._writer.close()


@contextlib.contextmanager
def _disk_errors():
  try:
    yield
  except RuntimeError as error:  # array_record has no other
    raise OSError(str(error)) from error
