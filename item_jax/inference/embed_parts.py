"""Embeds ranges of a split's rows, one range after the other."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from item_jax.bars import show_bar
from item_jax.batch import Batch
from item_jax.data.records import Dataset
from item_jax.inference import export_shards
from item_jax.inference.embedder import MODALITIES, Embedder, read_split


class Work(NamedTuple):
  """A model that embeds rows of a data set, and how it does.

  batch_size: rows that a device embeds at a time. workers: processes that
  decode. notify: is called with ("step", the row that is to be embedded next),
  for example.
  """

  embedder: Embedder
  dataset: Dataset
  batch_size: int
  workers: int = 0
  notify: Callable[[str, int], None] = lambda what, number: None


def embed_parts(
  work: Work,
  split: str,
  parts: Sequence[Sequence[int]],
  *,
  modality: str,
  device_rows: int,
  stage: str,
  embed: Callable[..., np.ndarray] | None = None,
  left: Callable[[Sequence[export_shards.Item]], np.ndarray] | None = None,
) -> Iterator[tuple[np.ndarray, list[export_shards.Item]]]:
  """Yields float32 [N, D], unit rows, and what is known of them, of each part.

  A batch never spans parts, and each device takes `device_rows` rows of it:
  so a row has the same position in a product of the same shape whoever embeds
  it, and its last bits don't depend on that. A row that cannot be read gets
  the null embedding.

  Args:
    stage: what `work.notify` is told of the rows.
    embed: of a batch and modality; the embedder's `embed_batch` by default.
    left: numbers of `MODALITIES`, what is left of each row of a part, where
      both sides are asked for; a row of one is that of `modality=` that one,
      to the bit. None: all.
  """
  embedder, dataset = work.embedder, work.dataset
  size = device_rows * jax.local_device_count()
  rows = []
  for part in parts:
    rows += part
    rows += [part[-1]] * (-len(rows) % size)  # fills its last batch
  how = {"chosen": rows, "workers": work.workers}
  batches = read_split(embedder, dataset, split, size, **how)
  source, embed = dataset.source(split), embed or embedder.embed_batch
  with show_bar(total=sum(map(len, parts)), desc=modality) as bar:
    for part in parts:
      items = [export_shards.read_item(source, split, row) for row in part]
      left_N = None if left is None else left(items)
      held, bad = [], []
      for first in range(0, len(part), size):
        work.notify(stage, part[first])
        batch = next(batches)
        if left_N is None:
          held.append(embed(batch, modality=modality))
        else:
          held.append(_embed_left(embed, batch, left_N[first : first + size]))
        bad.extend(np.asarray(batch.bad_B).tolist())
        bar.update(min(size, len(part) - first))
      if left_N is not None:
        items = list(map(_drop, items, left_N))
      # A bad one's image, as a rule: the listing may be known all the same.
      items = [
        item._replace(has_image=0, has_title=0, unreadable=1) if one else item
        for item, one in zip(items, bad, strict=False)
      ]
      yield np.concatenate(held)[: len(part)], items


def _embed_left(embed, batch: Batch, left_N: np.ndarray) -> np.ndarray:
  """Embeds a batch, whose first rows show what `left_N` says."""
  left_B = np.zeros(len(batch.tokens_BT), int)
  left_B[: len(left_N)] = left_N
  made = {n: embed(batch, modality=MODALITIES[n]) for n in np.unique(left_B)}
  found_BD = np.empty_like(next(iter(made.values())))
  for number, made_BD in made.items():
    found_BD[left_B == number] = made_BD[left_B == number]
  return found_BD


def _drop(item: export_shards.Item, left: int) -> export_shards.Item:
  lost = {"image": "has_title", "title": "has_image"}.get(MODALITIES[left])
  return item._replace(**{lost: 0}) if lost else item
