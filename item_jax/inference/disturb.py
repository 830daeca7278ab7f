"""Shows a model listings with a side missing, exchanged or without content."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from item_jax.bars import show_bar
from item_jax.batch import Batch
from item_jax.data import pipeline
from item_jax.data.records import Dataset, Record, open_dataset
from item_jax.data.tokenizer import Tokenizer
from item_jax.errors import NotFoundError, UserError
from item_jax.evaluation.derange import derange
from item_jax.evaluation.items import Items
from item_jax.evaluation.modality import Embedded
from item_jax.evaluation.modality_table import VIEWS
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder
from item_jax.inference.unit import keep_modality
from item_jax.inference.validation import scored_rows
from item_jax.models.patches import GREY
from item_jax.training.run import check_data

# Of a batch of numpy, float [B, D] of any length but zero.
Embed = Callable[[Batch], np.ndarray]


class Reader(NamedTuple):
  """Reads chosen listings of a split as a model sees them.

  batch_size: rows of each batch; the last one is filled up with its last row.
  change: of each record, before its image is decoded.
  """

  dataset: Dataset
  split: str
  tokenizer: Tokenizer
  image_size: int
  max_title_tokens: int
  batch_size: int
  change: Callable[[Record], Record] | None = None

  def batches(self, rows: Sequence[int]) -> Iterator[Batch]:
    """Yields the listings with these row numbers, in this order."""
    return pipeline.ordered_batches(
      self.dataset,
      self.split,
      self.tokenizer,
      image_size=self.image_size,
      max_title_tokens=self.max_title_tokens,
      batch_size=self.batch_size,
      chosen=rows,
      change=self.change,
    )


def open_reader(
  embedder: Embedder,
  workdir: str | os.PathLike,
  data: str | os.PathLike | Dataset | None,
  split: str,
  batch_size: int,
  *,
  tokenizer: bool = True,
) -> Reader:
  """Opens a split to be read as a model sees it.

  Args:
    workdir: the model's, for messages.
    data: a prepared catalogue, or its folder; None for the run's own.
    batch_size: rows at a time, or some more: as many on each device.
    tokenizer: as of `check_data`.

  Raises:
    UserError: there is no such data or split, or it is of another
      preprocessing.
  """
  path = embedder.run.config.data.path if data is None else data
  if not path:
    raise UserError(f"{workdir} names no data: give --data (in Python data=)")
  try:
    dataset = open_dataset(path)
  except NotFoundError as error:
    if data is not None:
      raise
    raise NotFoundError(
      f"{workdir} was trained on {path}, which is not here: give --data, the"
      " folder of a prepared catalogue (in Python data=)"
    ) from error
  check_data(embedder.run, dataset, workdir, tokenizer=tokenizer)
  dataset.source(split)  # refuses one that is not there
  devices, m = jax.local_device_count(), embedder.config.model
  return Reader(
    dataset,
    split,
    embedder.tokenizer,
    m.image_size,
    m.max_title_tokens,
    -(-batch_size // devices) * devices,
  )


def open_rows(
  embedder: Embedder,
  workdir: str | os.PathLike,
  data: str | os.PathLike | Dataset | None,
  split: str,
  *,
  batch_size: int,
  limit: int | None = None,
  tokenizer: bool = True,
) -> tuple[Reader, list[int]]:
  """Opens a split as a run sees it, and chooses the rows that are measured.

  Args:
    data, batch_size, tokenizer: as of `open_reader`.
    limit: rows at most, whole products; None for all.

  Raises:
    UserError: as `open_reader`, or no such split or limit.
  """
  if limit is not None and limit < 2:
    raise UserError(f"limit={limit}: expected 2 listings or more, or none")
  reader = open_reader(
    embedder, workdir, data, split, batch_size, tokenizer=tokenizer
  )
  source = reader.dataset.source(split)
  rows, *_ = scored_rows(source, split, most=limit or len(source), alone=True)
  return reader, rows


def disturb(batch: Batch, donor: Batch, view: str, tokenizer) -> Batch:
  """Makes a view of a batch whose rows have both sides.

  "image" and "title" take the other side away, as if the catalogue had none.
  "blank_image" is there, but grey; "empty_title" is there, but has no token
  except [SEP]: neither occurs in training.

  Args:
    donor: rows of other products, whose title or image is taken.
    view: of `VIEWS`.
    tokenizer: of which `sep` and `pad` are read.
  """
  if view == "both":
    return batch
  if view in ("image", "title"):
    return keep_modality(batch, view)
  if view == "other_title":
    return batch._replace(tokens_BT=donor.tokens_BT, title_B=donor.title_B)
  if view == "other_image":
    return batch._replace(image_BHWC=donor.image_BHWC)
  if view == "blank_image":
    return batch._replace(image_BHWC=np.full_like(batch.image_BHWC, GREY))
  if view == "empty_title":
    tokens_BT = np.full_like(batch.tokens_BT, tokenizer.pad)
    tokens_BT[:, 0] = tokenizer.sep
    return batch._replace(tokens_BT=tokens_BT)
  raise ValueError(f"view {view!r}; expected one of {', '.join(VIEWS)}")


def embed_views(
  embed: Embed, reader: Reader, rows: Sequence[int], *, seed: int = 0
) -> tuple[Embedded, int]:
  """Embeds listings of a split as they are, and disturbed.

  Listings that lack a side or cannot be read stay in the index.

  Args:
    rows: row numbers of the split: N listings.
    seed: of who gets whose title and image.

  Returns:
    What was embedded, and how many listings were given the title that they
    have: of another product, but the same tokens.

  Raises:
    UserError: no listing can be given one of another product.
  """
  source = reader.dataset.source(reader.split)
  items = [export_shards.read_item(source, reader.split, row) for row in rows]
  own, whole = [], []
  for batch in _shown(reader.batches(rows), len(rows), reader, "both"):
    own.append(embed(batch))
    whole.append(batch.complete_rows)
  rows_M = np.flatnonzero(np.concatenate(whole)[: len(rows)])
  donors_M = rows_M[derange([items[row].product for row in rows_M], seed=seed)]
  views = {view: [] for view in VIEWS if view != "both"}
  same = []
  pairs = zip(
    reader.batches([rows[row] for row in rows_M.tolist()]),
    reader.batches([rows[row] for row in donors_M.tolist()]),
    strict=True,
  )
  for batch, donor in _shown(pairs, len(rows_M), reader, "disturbed"):
    same.append(batch.title_B == donor.title_B)
    for view, parts in views.items():
      parts.append(embed(disturb(batch, donor, view, reader.tokenizer)))
  return Embedded(
    items=Items(
      [item.id for item in items],
      [item.product for item in items],
      [item.category for item in items],
    ),
    both_ND=np.concatenate(own)[: len(rows)],
    rows_M=rows_M,
    views={
      view: np.concatenate(parts)[: len(rows_M)]
      for view, parts in views.items()
    },
    words_M=np.array([len(items[row].title.split()) for row in rows_M]),
  ), int(np.concatenate(same)[: len(rows_M)].sum())


def _shown(batches, rows: int, reader: Reader, what: str):
  """Yields batches, and shows a bar on stderr."""
  with show_bar(total=rows, desc=what) as bar:
    for batch in batches:
      yield batch
      bar.update(min(reader.batch_size, rows - bar.n))
