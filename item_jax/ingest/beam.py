"""Writes a data set by the workers of an Apache Beam runner.

The machine that starts it reads the table, so that rows have the same numbers
as without Beam; the workers read the images, find the first listing of each id
and let TFDS write the shards; then the machine moves the shards to the data set
and reads each record once, for the statistics and the fingerprints. They
exchange files in one folder that all of them see: Beam's --temp_location or,
where the workers see the files of this machine, the unfinished data set.
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
# runner that it falls back on does the same work inside Python.
_RUNNERS = {"directrunner": "FnApiRunner", "direct": "FnApiRunner"}


def read_options(runner: str, arguments: Sequence[str]) -> PipelineOptions:
  """Parses Beam's options.

  Args:
    arguments: as on a command line, `--name=value` each.

  Raises:
    UserError: Beam has no such option or value, or loses rows by it.
  """
  parser = argparse.ArgumentParser(
    allow_abbrev=False, add_help=False, exit_on_error=False
  )
  # Beam has no public list of its options (read in 2.77).
  for kind in PipelineOptions.__subclasses__():
    kind._add_argparse_args(parser)  # type: ignore[arg-type]
  try:
    _, unknown = parser.parse_known_args(list(arguments))
  except argparse.ArgumentError as error:
    raise UserError(f"--runner={runner}: {error}") from error
  if unknown:
    raise UserError(
      f"neither prepare nor Beam has an option {' '.join(unknown)}"
    )
  options = PipelineOptions(list(arguments))
  check_in_place(options.view_as(GoogleCloudOptions).temp_location or "")
  if options.view_as(DirectOptions).direct_running_mode == "multi_threading":
    # A timer empties its workers' buffers without a lock: rows written at that
    # moment are lost (Beam 2.77, TimeBasedBufferingClosableOutput-
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
  """Writes all records and rejected.csv.

  Args:
    folder: the unfinished data set.
    statistics: gets every row.
    runner: its name in Beam.

  Returns:
    The counts and the fingerprints, as `Rejections.outcome`.

  Raises:
    UserError: Beam has no such runner, or lacks what it needs.
    RuntimeError: the workers failed.
  """
  with _shared_folder(folder, options) as shared:
    read, blocks, splits = _stage(rows, shared / ROWS, statistics)
    writers = {split: shard_writer(shared, split) for split in splits}
    if blocks:
      _run(shared, blocks, find_root(images), writers, runner, options)
      if (shared / REJECTED).exists():  # not when none was
        with (shared / REJECTED).open("rb") as file:
          for line in file:
            statistics.reject(Rejected(*json.loads(line)))
    fingerprint = _collect(folder, shared, writers, statistics)
    for listing, stored in read_image_notes(shared, blocks):
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
def _shared_folder(folder: Path, options) -> Iterator[epath.Path]:
  home = options.view_as(GoogleCloudOptions).temp_location or folder
  shared = epath.Path(home) / f"item-jax-{uuid.uuid4().hex}"
  shared.mkdir(parents=True)
  try:
    yield shared
  finally:
    shared.rmtree()


def _stage(rows, path, statistics) -> tuple[int, list[int], list[str]]:
  """Writes the rows to a file for the workers.

  Returns:
    The number of rows, the offsets in the file where each block of them begins,
    and the splits.
  """
  read = 0
  blocks = []
  counts: Counter[str] = Counter()
  with path.open("wb") as file:
    end = 0
    for row in rows:
      read += 1
      if isinstance(row, Rejected):
        statistics.reject(row)
        continue
      if counts.total() % beam_workers.BLOCK == 0:
        blocks.append(end)
      # With its position in its split, by which TFDS sorts the records.
      line = dumps((counts[row.split], *row))
      file.write(line)
      end += len(line)
      counts[row.split] += 1
  return read, blocks, in_order(counts)


def _run(shared, blocks, root, writers, runner, options) -> None:
  try:
    pipeline = beam.Pipeline(
      _RUNNERS.get(runner.lower(), runner), options=options
    )
  except (ValueError, ImportError, AttributeError) as error:
    raise UserError(f"--runner={runner}: {error}") from error
  connect(pipeline, shared, blocks, root=root, writers=writers)
  state = pipeline.run().wait_until_finish()
  if state != PipelineState.DONE:
    raise RuntimeError(f"{runner} ended as {state}: see its log")


def _collect(folder, shared, writers, statistics) -> dict[str, str]:
  """Moves the shards to the data set, and reads every record once."""
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
      move(shared / name, epath.Path(folder / name))
      shards.append((folder / name, length))
    fingerprint = Fingerprint()
    for record in Source(shards):
      statistics.add(split, record)
      fingerprint.add(record)
    fingerprints[split] = fingerprint.hexdigest()
  write_info(folder, written)
  return fingerprints
