"""Defines the work of Beam's workers: from blocks of rows to shards.

A row and its image become a record; of several rows with one listing id the
first is kept; TFDS sorts the records of a split by their positions and writes
its shards. Rejected rows are collected in one file.
"""

import base64
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import cv2
from apache_beam.pvalue import TaggedOutput
from etils import epath
from tensorflow_datasets.core import naming, writer

from item_jax.data import records
from item_jax.data.example import Serializer
from item_jax.data.images import BadImage
from item_jax.ingest.images.load import StoredImage, load_image
from item_jax.ingest.row import Rejected, Row
from item_jax.ingest.rows import make_record, reject_duplicate
from item_jax.ingest.writer import ShardWriter

BLOCK = 256  # rows that a worker takes at once
ROWS = "rows.jsonl"  # in the folder that all machines see
REJECTED = "rejected.jsonl"
_BYTES = "base64"  # the encoding of bytes in JSON
_IMAGE_NOTES = "images-{}.jsonl"  # of each block


def connect(
  pipeline: beam.Pipeline,
  shared: epath.Path,
  blocks: Sequence[int],
  *,
  root: str,
  writers: dict[str, writer.BeamWriter],
) -> None:
  """Adds the steps from rows to shards to a pipeline.

  Args:
    shared: the folder of ROWS, REJECTED and the shards.
    blocks: the offset in ROWS where each `BLOCK` of rows begins, in bytes.
    root: the image folder, as `find_root` gives it.
    writers: {split: its writer}.
  """
  made = (
    pipeline
    | "Blocks" >> beam.Create(blocks)
    | "Spread" >> beam.Reshuffle()
    | "MakeRecords"
    >> beam.FlatMap(
      _make_records, shared=os.fspath(shared), root=root
    ).with_outputs("rejected", main="records")
  )
  first = (
    made.records
    | "ByListing" >> beam.GroupByKey()
    | "FirstOfListing"
    >> beam.FlatMap(_first).with_outputs("rejected", main="records")
  )
  _ = (
    (made.rejected, first.rejected)
    | "AllRejected" >> beam.Flatten()
    | "Together" >> beam.Map(lambda rejected: (0, rejected))
    | "OneList" >> beam.GroupByKey()
    | "WriteRejected"
    >> beam.Map(_write_rejected, path=os.fspath(shared / REJECTED))
  )
  of_split = first.records | "BySplit" >> beam.Partition(
    # Beam takes functions too, which its types don't say.
    lambda record, _, splits: splits.index(record[0]),  # pyright: ignore[reportArgumentType]
    len(writers),
    list(writers),
  )
  for split, found in zip(writers, of_split, strict=True):
    _ = (
      found
      | f"Records {split}" >> beam.Map(lambda record: record[1])
      | f"Shards {split}" >> _write_shards(writers[split])
    )


@beam.ptransform_fn
def _write_shards(found, split_writer):
  return split_writer.write_from_pcollection(found)


def _make_records(begin: int, shared: str, root: str):
  """Makes the records of one block of rows, by listing id."""
  cv2.setNumThreads(1)  # the runner has a process for each core
  folder = epath.Path(shared)
  serialize = Serializer()
  notes = []
  with (folder / ROWS).open("rb") as file:
    file.seek(begin)
    for line in itertools.islice(file, BLOCK):
      number, *fields = _loads(line)
      row = Row(*fields)
      stored = load_image(root, row.image)
      made = make_record(row, stored)
      if isinstance(made, Rejected) or isinstance(stored, BadImage):
        yield TaggedOutput("rejected", tuple(made))
      else:
        if stored.jpeg:
          notes.append((row.listing_id, stored._replace(jpeg=b"")))
        yield row.listing_id, (row.number, row.split, number, serialize(made))
  # A block that is tried again writes the same once more.
  with (folder / _IMAGE_NOTES.format(begin)).open("wb") as file:
    file.writelines(map(dumps, notes))


def read_image_notes(
  shared: epath.Path, blocks: Sequence[int]
) -> Iterator[tuple[str, StoredImage]]:
  """Reads what is known of the images beside their JPEGs, by listing id.

  In the table's order, with those of duplicate ids.
  """
  for begin in blocks:
    with (shared / _IMAGE_NOTES.format(begin)).open("rb") as file:
      for line in file:
        listing, stored = _loads(line)
        yield listing, StoredImage(*stored)


def dumps(values: Sequence) -> bytes:
  """Writes a line of JSON in which values may be bytes."""
  text = json.dumps(
    values, default=lambda v: {_BYTES: base64.b64encode(v).decode()}
  )
  return text.encode() + b"\n"


def _loads(line):
  return json.loads(
    line, object_hook=lambda found: base64.b64decode(found[_BYTES])
  )


def _first(listing):
  """Yields the first record of a listing id, by split; rejects the others."""
  listing_id, found = listing
  found = iter(found)
  first = next(found)
  for record in found:
    first, later = sorted((first, record))  # by their numbers in the table
    duplicate = reject_duplicate(later[0], listing_id)
    yield TaggedOutput("rejected", tuple(duplicate))
  _, split, position, data = first
  yield split, (position, data)


def _write_rejected(listed, path: str) -> None:
  _, rejected = listed
  with epath.Path(path).open("wb") as file:
    for row in rejected:
      file.write(json.dumps(row).encode() + b"\n")


def shard_writer(shared: epath.Path, split: str) -> writer.BeamWriter:
  """Makes the writer of a split's shards, with TFDS's names, in a folder."""
  # TFDS calls no more of a serializer and a writer than ours have.
  return _ShardsInOrder(
    serializer=_Serialized(),  # pyright: ignore[reportArgumentType]
    filename_template=naming.ShardedFileTemplate(
      data_dir=shared,
      dataset_name=records.NAME,
      split=split,
      filetype_suffix="array_record",
    ),
    hash_salt=split,
    disable_shuffling=True,
    example_writer=_ShardFile(),  # pyright: ignore[reportArgumentType]
  )


class _ShardsInOrder(writer.BeamWriter):
  """A writer of TFDS that accepts a split without records."""

  def _check_num_examples(self, num_examples):
    return num_examples


class _Serialized:
  """A serializer of TFDS for records that are bytes already."""

  def serialize_example(self, example: bytes) -> bytes:
    return example


class _ShardFile:
  """An example writer of TFDS that writes one shard."""

  def write(self, path, examples: Iterable[tuple[int, bytes]]) -> None:
    path = os.fspath(path)
    if "://" not in path:
      _write_shard(path, examples)
      return
    with tempfile.TemporaryDirectory() as folder:  # array_record needs a disk
      local = Path(folder) / "shard"
      _write_shard(local, examples)
      move(epath.Path(local), epath.Path(path))


def _write_shard(path, examples):
  shard = ShardWriter(path)
  for _, data in examples:
    shard.write(data)
  shard.close()


def move(source: epath.Path, target: epath.Path) -> None:
  """Moves a file, also between disks and object stores."""
  if "://" not in f"{source}{target}":
    shutil.move(source, target)
    return
  with source.open("rb") as inside, target.open("wb") as outside:
    shutil.copyfileobj(inside, outside, 1 << 20)
  source.unlink()
