"""Rows of a catalogue in, the shards of its data set out: made by the workers
of an Apache Beam runner.

The machine that starts it reads the table, so that row 7 is row 7 for
everybody; the workers read the photos, find the first listing of each id and
let TFDS write the shards; then the machine takes the shards home and reads
each record once, for the statistics and the fingerprints. What is handed over
lies in one folder that all of them see: Beam's --temp_location or, where the
workers see the files of this machine, the unfinished data set.
"""

import argparse
import contextlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
  DirectOptions,
  GoogleCloudOptions,
  PipelineOptions,
)
from apache_beam.runners.runner import PipelineState
from etils import epath

from item_jax.data import records
from item_jax.data.records import Fingerprint, Source, in_order
from item_jax.errors import UserError
from item_jax.ingest import beam_workers
from item_jax.ingest.beam_workers import (
  REJECTED,
  ROWS,
  connect,
  dumps,
  move,
  read_image_notes,
  shard_writer,
)
from item_jax.ingest.images.files import find_root
from item_jax.ingest.row import Rejected, Row
from item_jax.ingest.rows import Rejections
from item_jax.ingest.statistics import CatalogueStatistics
from item_jax.ingest.writer import write_info
from item_jax.remote import check_in_place

# Beam's DirectRunner would fetch a program from the network and start it; the
# runner that it falls back on does the same inside Python.
_RUNNERS = {"directrunner": "FnApiRunner", "direct": "FnApiRunner"}


def read_options(runner: str, words: Sequence[str]) -> PipelineOptions:
  """Beam's options.

  Args:
    words: as on a command line, `--name=value` each.

  Raises:
    UserError: Beam has none of that name, it takes no such value, or loses
      rows by it.
  """
  parser = argparse.ArgumentParser(
    allow_abbrev=False, add_help=False, exit_on_error=False
  )
  for kind in PipelineOptions.__subclasses__():
    kind._add_argparse_args(parser)
  try:
    _, unknown = parser.parse_known_args(list(words))
  except argparse.ArgumentError as error:
    raise UserError(f"--runner={runner}: {error}") from error
  if unknown:
    raise UserError(
      f"neither prepare nor Beam has an option {' '.join(unknown)}"
    )
  options = PipelineOptions(list(words))
  check_in_place(options.view_as(GoogleCloudOptions).temp_location or "")
  if options.view_as(DirectOptions).direct_running_mode == "multi_threading":
    # Its workers' buffers are emptied by a clock, without a lock: what is
    # written meanwhile is lost (Beam 2.77, TimeBasedBufferingClosableOutput-
    # Stream).
    raise UserError(
      "--direct_running_mode=multi_threading loses rows, by a fault of Beam:"
      " expected multi_processing, or none for a single worker"
    )
  return options


def write(
  folder: Path,
  rows: Iterable[Row | Rejected],
  images: str | os.PathLike,
  statistics: CatalogueStatistics,
  *,
  runner: str,
  options: PipelineOptions,
) -> dict[str, Any]:
  """Writes all records and rejected.csv; counts, and the fingerprints.

  Args:
    folder: the unfinished data set.
    statistics: is told of every row.
    runner: Beam's name of it.

  Raises:
    UserError: Beam has no such runner, or lacks what it needs.
    RuntimeError: the workers failed.
  """
  with _meeting_place(folder, options) as place:
    read, blocks, splits = _stage(rows, place / ROWS, statistics)
    writers = {split: shard_writer(place, split) for split in splits}
    if blocks:
      _run(place, blocks, find_root(images), writers, runner, options)
      if (place / REJECTED).exists():  # not when none was
        with (place / REJECTED).open("rb") as file:
          for line in file:
            statistics.reject(Rejected(*json.loads(line)))
    fingerprint = _take_home(folder, place, writers, statistics)
    for listing, stored in read_image_notes(place, blocks):
      statistics.add_image(listing, stored)
  with Rejections(folder) as rejections:
    for rejected in statistics.rejected():
      rejections.add(rejected)
  if statistics.rows() + rejections.total() != read:
    raise RuntimeError(
      f"of {read} rows {statistics.rows()} were stored and {rejections.total()}"
      " rejected: Beam's workers lost the others"
    )
  return rejections.outcome(read, fingerprint)


@contextlib.contextmanager
def _meeting_place(folder: Path, options) -> Iterator[epath.Path]:
  shared = options.view_as(GoogleCloudOptions).temp_location or folder
  place = epath.Path(shared) / f"item-jax-{uuid.uuid4().hex}"
  place.mkdir(parents=True)
  try:
    yield place
  finally:
    place.rmtree()


def _stage(rows, path, statistics) -> tuple[int, list[int], list[str]]:
  """Writes down the rows for the workers.

  Returns:
    How many rows there are, the places in the file where a block of them
    begins, and the splits.
  """
  read = 0
  blocks = []
  counts = Counter()
  with path.open("wb") as file:
    end = 0
    for row in rows:
      read += 1
      if isinstance(row, Rejected):
        statistics.reject(row)
        continue
      if counts.total() % beam_workers.BLOCK == 0:
        blocks.append(end)
      # With its place among those of its split, by which TFDS orders them.
      line = dumps((counts[row.split], *row))
      file.write(line)
      end += len(line)
      counts[row.split] += 1
  return read, blocks, in_order(counts)


def _run(place, blocks, root, writers, runner, options) -> None:
  try:
    pipeline = beam.Pipeline(
      _RUNNERS.get(runner.lower(), runner), options=options
    )
  except (ValueError, ImportError, AttributeError) as error:
    raise UserError(f"--runner={runner}: {error}") from error
  connect(pipeline, place, blocks, root=root, writers=writers)
  state = pipeline.run().wait_until_finish()
  if state != PipelineState.DONE:
    raise RuntimeError(f"{runner} ended as {state}: see its log")


def _take_home(folder, place, writers, statistics) -> dict[str, str]:
  """Moves the shards into the data set, and reads every record once."""
  written = {}
  fingerprints = {}
  for split, split_writer in writers.items():
    lengths, num_bytes = split_writer.finalize()
    if not lengths:
      continue
    written[split] = (lengths, num_bytes)
    shards = []
    for number, length in enumerate(lengths):
      name = records.shard_name(split, number, len(lengths))
      move(place / name, epath.Path(folder / name))
      shards.append((folder / name, length))
    fingerprint = Fingerprint()
    for record in Source(shards):
      statistics.add(split, record)
      fingerprint.add(record)
    fingerprints[split] = fingerprint.hexdigest()
  write_info(folder, written)
  return fingerprints
