"""Embeds ranges of a split's rows, one range after the other."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from item_jax.bars import show_bar
from item_jax.data import pipeline
from item_jax.data.records import Dataset
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder


def embed_parts(
  embedder: Embedder,
  dataset: Dataset,
  split: str,
  parts: Sequence[Sequence[int]],
  *,
  modality: str,
  device_rows: int,
  workers: int = 0,
  notify: Callable[[int], None] = lambda row: None,
  embed: Callable[..., np.ndarray] | None = None,
) -> Iterator[tuple[np.ndarray, list[export_shards.Item]]]:
  """Yields float32 [N, D], unit rows, and what is known of them, of each part.

  A batch never spans parts, and each device takes `device_rows` rows of it:
  so a row has the same position in a product of the same shape whoever embeds
  it, and its last bits don't depend on that. A row that cannot be read gets
  the null embedding.

  Args:
    workers: processes that decode.
    notify: is called with the row that is to be embedded next.
    embed: of a batch and modality; the embedder's `embed_batch` by default.
  """
  size = device_rows * jax.local_device_count()
  rows = []
  for part in parts:
    rows += part
    rows += [part[-1]] * (-len(rows) % size)  # fills its last batch
  m = embedder.config.model
  batches = pipeline.ordered_batches(
    dataset,
    split,
    embedder.tokenizer,
    image_size=m.image_size,
    max_title_tokens=m.max_title_tokens,
    batch_size=size,
    chosen=rows,
    workers=workers,
  )
  source, embed = dataset.source(split), embed or embedder.embed_batch
  with show_bar(total=sum(map(len, parts)), desc=modality) as bar:
    for part in parts:
      held, bad = [], []
      for first in range(0, len(part), size):
        notify(part[first])
        batch = next(batches)
        held.append(embed(batch, modality=modality))
        bad.extend(np.asarray(batch.bad_B).tolist())
        bar.update(min(size, len(part) - first))
      items = [
        _read_item(source, split, row, unreadable)
        for row, unreadable in zip(part, bad, strict=False)
      ]
      yield np.concatenate(held)[: len(part)], items


def _read_item(source, split: str, row: int, bad: bool) -> export_shards.Item:
  item = export_shards.read_item(source, split, row)
  if bad:  # its image, as a rule: the listing may be known all the same
    item = item._replace(has_image=0, has_title=0, unreadable=1)
  return item
