"""Reads a data set as Batches of numpy arrays.

Batch k is a function of (seed, k) only: it does not depend on how many
processes or hosts read it, nor on the step at which reading began. So the step
is the only position in the data, and nothing else is saved.

That holds for unreadable rows, too: position p of the endless order has the
first readable row of p, p + 1, p + 2, ... In a split's own order, where the
position identifies a row, an unreadable row keeps its position and has neither
image nor title. `bad_B` marks both cases.
"""

import functools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from item_jax.batch import Batch
from item_jax.data import images
from item_jax.data.grids import Grids
from item_jax.data.order import InOrder, Order
from item_jax.data.records import Dataset, Record, Source
from item_jax.data.tokenizer import Tokenizer
from item_jax.data.unreadable import UNREADABLE, RowOrder, first_good
from item_jax.distributed.processes import (
  die_with_parent,
  name_shared_memory,
  sweep_shared_memory,
)


def make_row(
  record: Record,
  *,
  tokenizer: Tokenizer,
  image_size: int,
  max_title_tokens: int,
  grid_HWC: np.ndarray | None = None,
) -> Batch:
  """Makes one row of a `Batch`, without the axis B.

  Args:
    grid_HWC: a stem's features of the image, in place of its pixels.

  Raises:
    BadImage: the stored image is corrupt.
  """
  if grid_HWC is not None:
    image_HWC = grid_HWC
  elif record.image:
    image_HWC = images.load_square(record.image, image_size)
  else:
    image_HWC = np.zeros((image_size, image_size, 3), np.uint8)
  tokens_T = tokenizer.encode(record.title, max_title_tokens)
  return Batch(
    image_BHWC=image_HWC,
    tokens_BT=tokens_T,
    has_image_B=np.bool_(bool(record.image)),
    has_title_B=np.bool_(tokens_T[0] != tokenizer.pad),
    product_B=np.uint32(zlib.crc32(record.product_id.encode())),
    title_B=np.uint32(zlib.crc32(tokens_T.tobytes())),
    category_B=np.uint32(zlib.crc32(record.category.encode())),
    bad_B=np.bool_(False),
  )


class _Reader(NamedTuple):
  """Reads rows of a split by number, as a `Batch` without the axis B."""

  source: Source
  tokenizer: Tokenizer
  image_size: int
  max_title_tokens: int
  grids: Grids | None = None
  change: Callable[[Record], Record] | None = None

  def row(self, number: int) -> Batch:
    grid_HWC = self.grids[number] if self.grids else None
    record = self.source[number]
    if self.change is not None:
      record = self.change(record)
    return self._batch(record, grid_HWC)

  def first_good(self, order: RowOrder, position: int) -> Batch:
    skipped, row = first_good(self.row, order, position)
    return row._replace(bad_B=np.bool_(skipped > 0))

  def in_place(self, order: RowOrder, position: int) -> Batch:
    try:
      return self.row(order[position])
    except UNREADABLE:
      grid_HWC = self.grids.empty() if self.grids else None
      empty = self._batch(Record("", "", "", "", b""), grid_HWC)
      return empty._replace(bad_B=np.bool_(True))

  def _batch(self, record: Record, grid_HWC) -> Batch:
    return make_row(
      record,
      tokenizer=self.tokenizer,
      image_size=self.image_size,
      max_title_tokens=self.max_title_tokens,
      grid_HWC=grid_HWC,
    )


class _HostRows:
  """Gives grain the rows that one host reads from step `start` on."""

  def __init__(self, row_at: Callable, *, batch_size, rows: slice, start, stop):
    self._row_at = row_at
    self._batch_size = batch_size
    self._first = rows.start
    self.per_batch = rows.stop - rows.start
    self._start = start
    self._batches = stop - start

  def __len__(self) -> int:
    return self._batches * self.per_batch

  def __getitem__(self, index: int) -> Batch:
    batch, row = divmod(int(index), self.per_batch)
    return self._row_at(
      (self._start + batch) * self._batch_size + self._first + row
    )


def training_batches(
  dataset: Dataset,
  split: str,
  tokenizer: Tokenizer,
  *,
  image_size: int,
  max_title_tokens: int,
  batch_size: int,
  seed: int,
  start: int,
  stop: int,
  order: RowOrder | None = None,
  host_rows: slice | None = None,
  grids: Grids | None = None,
  workers: int = 0,
  read_threads: int = 2,
  prefetch: int = 4,
) -> grain.DatasetIterator[Batch]:
  """Reads the batches `start` to `stop` of the run with this seed.

  Every pass over the split is shuffled anew; a batch may span two passes.

  Args:
    order: of the rows, where it is another one; it knows its own seed.
    host_rows: which rows of each global batch to read; all by default.
    grids: a stem's features of the split's images, in place of their pixels.
    workers: processes that decode; 0 decodes in `read_threads` threads.
    prefetch: batches held ready (by each worker).
  """
  reader = _Reader(
    dataset.source(split), tokenizer, image_size, max_title_tokens, grids
  )
  order = order or Order(dataset.sizes[split], seed)
  row_at = functools.partial(reader.first_good, order)
  how = {"batch_size": batch_size, "rows": host_rows or slice(0, batch_size)}
  source = _HostRows(row_at, **how, start=start, stop=stop)
  return _batches(source, workers, read_threads, prefetch)


def ordered_batches(
  dataset: Dataset,
  split: str,
  tokenizer: Tokenizer,
  *,
  image_size: int,
  max_title_tokens: int,
  batch_size: int,
  chosen: Sequence[int] | None = None,
  host_rows: slice | None = None,
  grids: Grids | None = None,
  workers: int = 0,
  read_threads: int = 2,
  prefetch: int = 4,
  change: Callable[[Record], Record] | None = None,
) -> Iterator[Batch]:
  """Reads a split in its own order, or `chosen` rows of it, in full batches.

  The last batch is filled up with copies of the last row; the caller knows how
  many rows there are and drops them. `grids` as of `training_batches`. A record
  is passed through `change` before its image is decoded.
  """
  chosen = range(dataset.sizes[split]) if chosen is None else chosen
  reader = _Reader(
    dataset.source(split),
    tokenizer,
    image_size,
    max_title_tokens,
    grids,
    change,
  )
  row_at = functools.partial(reader.in_place, InOrder(chosen))
  how = {"batch_size": batch_size, "rows": host_rows or slice(0, batch_size)}
  stop = -(-len(chosen) // batch_size)
  source = _HostRows(row_at, **how, start=0, stop=stop)
  return _batches(source, workers, read_threads, prefetch)


def _batches(
  source: _HostRows, workers: int, read_threads: int, prefetch: int
) -> grain.DatasetIterator[Batch]:
  # Batched before to_iter_dataset, so that the order does not depend on the
  # number of workers.
  rows = grain.MapDataset.source(source).batch(source.per_batch)
  dataset = rows.to_iter_dataset(
    grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=prefetch)
  )
  if workers:
    if not flags.FLAGS.is_parsed():  # grain's workers read absl's flags
      flags.FLAGS(["item-jax"])
    sweep_shared_memory()
    dataset = dataset.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=prefetch
      ),
      worker_init_fn=functools.partial(_start_worker, os.getpid()),
    )
  return iter(dataset)


def _start_worker(parent: int, index: int, count: int) -> None:
  del index, count
  die_with_parent(parent)
  name_shared_memory(parent)
  # Ctrl-C goes to the whole group of processes and asks the parent to stop and
  # save; the parent ends its workers itself.
  os.setpgrp()
