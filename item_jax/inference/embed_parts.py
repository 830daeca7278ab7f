"""Embeds parts of a split: an Embedder, a split's rows and ranges of them in;
vectors and items of one range after the other out."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from tqdm import tqdm

from item_jax.data import pipeline
from item_jax.data.records import Record, Source
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder

_NO_ROW = -1  # fills a part's last batch; nothing is read or decoded for it


def embed_parts(
  embedder: Embedder,
  source: Source,
  split: str,
  parts: Sequence[range],
  *,
  modality: str,
  device_rows: int,
  workers: int,
  at: Callable[[int], None],
) -> Iterator[tuple[np.ndarray, list[export_shards.Item]]]:
  """Yields float32 [N, D], unit rows, and what is known of them, of each part.

  A batch never spans parts, and each device takes `device_rows` rows of it:
  so a row has the same place in a product of the same shape whoever embeds
  it, and its last bits don't depend on that. A row that cannot be read gets
  the embedding of nothing.

  Args:
    split: which it is; it names rows that cannot be read.
    workers: processes that decode.
    at: told of the row that is to be embedded next.
  """
  size = device_rows * jax.local_device_count()
  rows = []
  for part in parts:
    rows += part
    rows += [_NO_ROW] * (-len(rows) % size)
  m = embedder.config.model
  batches = pipeline.ordered_batches(
    _Chosen(source, split, rows),
    split,
    embedder.tokenizer,
    image_size=m.image_size,
    max_title_tokens=m.max_title_tokens,
    batch_size=size,
    workers=workers,
  )
  with tqdm(total=sum(map(len, parts)), unit="row", desc=modality) as bar:
    for part in parts:
      held, bad = [], []
      for first in range(0, len(part), size):
        at(part[first])
        batch = next(batches)
        held.append(embedder.embed_batch(batch, modality=modality))
        bad.extend(np.asarray(batch.bad_B).tolist())
        bar.update(min(size, len(part) - first))
      items = [
        _item(source, split, row, unreadable)
        for row, unreadable in zip(part, bad, strict=False)
      ]
      yield np.concatenate(held)[: len(part)], items


def _item(
  source: Source, split: str, row: int, bad: bool
) -> export_shards.Item:
  item = export_shards.read_item(source, split, row)
  if bad:  # its photo, as a rule: who it is may be known all the same
    item = item._replace(has_image=0, has_title=0, unreadable=1)
  return item


class _Chosen:
  """Rows of a split, in an order of one's own, as a `Store` of one split."""

  def __init__(self, source: Source, split: str, rows: list[int]):
    self._source, self._rows = source, rows
    self.sizes = {split: len(rows)}

  def source(self, split: str) -> "_Chosen":
    del split
    return self

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, number: int) -> Record:
    row = self._rows[number]
    return Record("", "", "", "", b"") if row == _NO_ROW else self._source[row]
