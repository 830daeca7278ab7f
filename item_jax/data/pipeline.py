"""Feeds rows to a device: a Store and a seed in, Batches of numpy out.

Batch k is a function of (seed, k) alone: it does not depend on how many
processes or hosts read it, nor on the step at which reading began. So the
step is the only position in the data, and nothing else is saved.
"""

import functools
import os
import zlib
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from item_jax.batch import Batch
from item_jax.data import images
from item_jax.data.records import Record, Store
from item_jax.data.tokenizer import Words
from item_jax.processes import die_with_parent


def make_row(
  record: Record, *, words: Words, image_size: int, title_places: int
) -> Batch:
  """One row of a `Batch`, without the axis B."""
  if record.image:
    image_HWC = images.load_square(record.image, image_size)
  else:
    image_HWC = np.zeros((image_size, image_size, 3), np.uint8)
  words_T = words.encode(record.title, title_places)
  return Batch(
    image_BHWC=image_HWC,
    words_BT=words_T,
    has_image_B=np.bool_(bool(record.image)),
    has_title_B=np.bool_(words_T[0] != words.pad),
    product_B=np.uint32(zlib.crc32(record.product_id.encode())),
    title_B=np.uint32(zlib.crc32(words_T.tobytes())),
    category_B=np.uint32(zlib.crc32(record.category.encode())),
    bad_B=np.bool_(False),
  )


class _Order:
  """Which row of the split stands where in the endless shuffled sequence."""

  def __init__(self, rows: int, seed: int):
    self._order = grain.MapDataset.range(rows).seed(seed).shuffle().repeat()

  def __getitem__(self, position: int) -> int:
    return int(self._order[position])


class _HostRows:
  """The rows that one host reads from step `start` on, as a grain source."""

  def __init__(self, source, order, *, batch_size, rows: slice, start, stop):
    self._source = source
    self._order = order
    self._batch_size = batch_size
    self._first = rows.start
    self._per_batch = rows.stop - rows.start
    self._start = start
    self._batches = stop - start

  def __len__(self) -> int:
    return self._batches * self._per_batch

  def __getitem__(self, index: int) -> Record:
    batch, row = divmod(int(index), self._per_batch)
    position = (self._start + batch) * self._batch_size + self._first + row
    return self._source[self._order[position]]


def training_batches(
  store: Store,
  split: str,
  words: Words,
  *,
  image_size: int,
  title_places: int,
  batch_size: int,
  seed: int,
  start: int,
  stop: int,
  host_rows: slice | None = None,
  workers: int = 0,
  threads: int = 2,
  ahead: int = 4,
) -> Iterator[Batch]:
  """Batches `start` to `stop` of the run with this seed.

  Every pass over the split is shuffled anew; a batch may span two passes.

  Args:
    host_rows: which rows of each global batch to read; all by default.
    workers: processes that decode; 0 decodes in `threads` threads.
    ahead: batches held ready (for each worker).
  """
  rows = host_rows or slice(0, batch_size)
  source = _HostRows(
    store.source(split),
    _Order(store.sizes[split], seed),
    batch_size=batch_size,
    rows=rows,
    start=start,
    stop=stop,
  )
  return _batches(
    source,
    words,
    image_size=image_size,
    title_places=title_places,
    batch_size=rows.stop - rows.start,
    workers=workers,
    threads=threads,
    ahead=ahead,
  )


def ordered_batches(
  store: Store,
  split: str,
  words: Words,
  *,
  image_size: int,
  title_places: int,
  batch_size: int,
  start_row: int = 0,
  host_rows: slice | None = None,
  workers: int = 0,
  threads: int = 2,
  ahead: int = 4,
) -> Iterator[Batch]:
  """The split in its own order from `start_row` on, in full batches.

  The last batch is filled up with the split's last row; the caller knows how
  many rows there are and drops them.
  """
  size = store.sizes[split]
  rows = host_rows or slice(0, batch_size)
  source = _HostRows(
    store.source(split),
    _InOrder(start_row, size),
    batch_size=batch_size,
    rows=rows,
    start=0,
    stop=-(-(size - start_row) // batch_size),
  )
  return _batches(
    source,
    words,
    image_size=image_size,
    title_places=title_places,
    batch_size=rows.stop - rows.start,
    workers=workers,
    threads=threads,
    ahead=ahead,
  )


class _InOrder:
  def __init__(self, start_row: int, size: int):
    self._start_row = start_row
    self._last = size - 1

  def __getitem__(self, position: int) -> int:
    return min(self._start_row + position, self._last)


def listing_ids(
  store: Store, split: str, *, batch_size: int, seed: int, step: int
) -> list[str]:
  """Who was in batch `step`: for a log of what went wrong there."""
  order = _Order(store.sizes[split], seed)
  source = store.source(split)
  first = step * batch_size
  return [source[order[first + i]].listing_id for i in range(batch_size)]


def _batches(
  source,
  words: Words,
  *,
  image_size: int,
  title_places: int,
  batch_size: int,
  workers: int,
  threads: int,
  ahead: int,
) -> Iterator[Batch]:
  row = functools.partial(
    make_row, words=words, image_size=image_size, title_places=title_places
  )
  # Batching before to_iter_dataset: only so does the order not depend on the
  # number of workers.
  dataset = (
    grain.MapDataset.source(source).map(row).batch(batch_size)
  ).to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
  )
  if workers:
    if not flags.FLAGS.is_parsed():  # grain's workers ask absl's flags
      flags.FLAGS(["item-jax"])
    dataset = dataset.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=ahead
      ),
      worker_init_fn=functools.partial(_start_worker, os.getpid()),
    )
  return iter(dataset)


def _start_worker(parent: int, index: int, count: int) -> None:
  del index, count
  die_with_parent(parent)
  # A signal to a whole group of processes, as Ctrl-C is, asks the parent to
  # stop and save; it ends its workers itself.
  os.setpgrp()
