"""Measures which attributes a linear classifier reads from embeddings."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.data.records import Dataset
from item_jax.errors import UserError
from item_jax.evaluation.columns import read_columns
from item_jax.evaluation.labelled import Rows
from item_jax.evaluation.labels import NothingToScore
from item_jax.evaluation.modality import Embedded
from item_jax.evaluation.probe import probe
from item_jax.inference import export_shards
from item_jax.inference.disturb import Reader
from item_jax.inference.embedder import Embedder
from item_jax.inference.unit import keep_modality
from item_jax.inference.validation import scored_rows
from item_jax.ingest.readers.cells import MISSING, to_text

logger = logging.getLogger(__name__)

_KEYS = {"id": 0, "listing_id": 0, "product": 1, "product_id": 1}
_VIEWS = ("both", "image", "title")
Learning = list[tuple[int, str, str]]  # row, id and product of listings
_LEARNT = 5_000  # rows that classifiers learn from, whole products


class Labels(NamedTuple):
  """A column of a table.

  name: of the column. of: {id of a listing, or of a product: its label}.
  by_product: which of them it is.
  """

  name: str
  of: dict[str, str]
  by_product: bool

  def label(self, listing: str, product: str) -> str:
    """The label of a listing; "" where it has none."""
    return self.of.get(product if self.by_product else listing, "")


def read_labels(places: Sequence[str]) -> list[Labels]:
  """Reads columns of tables, given as "FILE:COLUMN".

  FILE has a column id (or listing_id), or else product (or product_id), and is
  of any format that `prepare` reads.

  Raises:
    UserError: no such file or column, a table without ids, an id with two
      labels, or a column that is named twice.
  """
  found: list[Labels] = []
  for place in places:
    file, colon, column = place.rpartition(":")
    if not colon or not file or not column:
      raise UserError(f"labels {place!r}: expected FILE:COLUMN")
    if column in [one.name for one in found]:
      raise UserError(f"labels {place!r}: a column {column!r} is given already")
    found.append(_read(Path(file), column))
  return found


def _read(file: Path, column: str) -> Labels:
  labels, *keys = read_columns(file, [(column,)], list(_KEYS))
  given = {n: c for n, c in zip(_KEYS, keys, strict=True) if c is not None}
  if not given:
    raise UserError(f"{file}: no column of {', '.join(_KEYS)}: whose labels?")
  name = next(iter(given))  # a listing's own before its product's
  of: dict[str, str] = {}
  for row, (key, label) in enumerate(zip(given[name], labels, strict=True)):
    try:
      key, label = to_text(key), to_text(label)
    except ValueError as error:
      raise UserError(f"{file}: row {row}: a cell {error}") from error
    label = "" if label.lower() in MISSING else label
    if of.setdefault(key, label) != label:
      raise UserError(
        f"{file}: row {row}: {column} of {name} {key!r} is {label!r}, before it"
        f" was {of[key]!r}; expected one label of each"
      )
  return Labels(column, of, bool(_KEYS[name]))


def check(
  asked: Sequence[Labels],
  embedder: Embedder,
  reader: Reader,
  rows: Sequence[int],
) -> Learning:
  """Refuses labels of which nothing could be learnt or asked, before the work.

  Args:
    rows: of the reader's split, that are asked about.

  Returns:
    What `read` learns from.

  Raises:
    UserError: the split is that of training; no two labels in it have a listing
      with both sides, or no listing that is asked about has one of them.
  """
  train = embedder.run.config.data.train_split
  if reader.split == train:
    raise UserError(
      f"labels are learnt from the split {train!r}: measure another one"
    )
  source = reader.dataset.source(train)
  most, *_ = scored_rows(source, train, most=_LEARNT, alone=True)
  learnt = _both_sided(reader.dataset, train, most)
  scored = _both_sided(reader.dataset, reader.split, rows)
  for labels in asked:
    classes = {labels.label(id, product) for _, id, product in learnt} - {""}
    found = [labels.label(id, product) for _, id, product in scored]
    known = sum(label in classes for label in found)
    if len(classes) < 2 or not known:
      of = "products" if labels.by_product else "listings"
      raise UserError(
        f"column {labels.name!r} of {len(labels.of):,} {of} has"
        f" {len(classes):,} labels of the {len(learnt):,} listings of"
        f" {train!r} that have an image and a title, and {known:,} of the"
        f" {len(scored):,} of {reader.split!r} have one of these: expected two"
        " labels or more to learn, and a listing to ask about"
      )
  return learnt


def read(
  embedder: Embedder,
  reader: Reader,
  embedded: Embedded,
  asked: Sequence[Labels],
  learning: Learning,
  *,
  bootstrap: int,
  seed: int,
) -> list[dict[str, Any]]:
  """A line a column: how often its label is read right from each view.

  Logistic regression (`probe`) learns from listings of the training split with
  both sides and is asked about those that `embedded` disturbed, other products
  as a rule. "largest" is what naming the commonest label of the scored listings
  would get.

  Raises:
    UserError: as `check`, where images that had to be read are broken.
  """
  train = embedder.run.config.data.train_split
  learnt = _embed_training(embedder, reader._replace(split=train), learning)
  items, rows_M = embedded.items, embedded.rows_M
  own = {"both": embedded.both_ND[rows_M]}
  own |= {view: embedded.views[view] for view in _VIEWS[1:]}
  ids = [items.ids[row] for row in rows_M]
  products = [items.products[row] for row in rows_M]
  lines = []
  for labels in asked:
    logger.info(f"reading {labels.name} from embeddings")
    test = [labels.label(*pair) for pair in zip(ids, products, strict=True)]
    train_labels = [
      labels.label(*pair)
      for pair in zip(learnt.ids, learnt.products, strict=True)
    ]
    line: dict[str, Any] = {"column": labels.name}
    for view in _VIEWS:
      try:
        found = probe(
          Rows(learnt.views[view], train_labels, learnt.ids, learnt.products),
          None,
          Rows(own[view], test, ids, products),
          kinds=("logistic",),
          bootstrap=bootstrap,
          seed=seed,
        )
      except NothingToScore as error:
        raise UserError(f"column {labels.name!r}: {error}") from error
      if view == _VIEWS[0]:
        line |= {"rows": found["rows"], "classes": found["classes"]}
        true_Q = [test[row] for row in found.predictions["logistic"].rows_Q]
        line["largest"] = max(map(true_Q.count, set(true_Q))) / len(true_Q)
      line[view] = found["logistic"]["accuracy"]
      if bootstrap:
        interval = found["logistic"]["interval"]["accuracy"]
        line[f"{view} interval"] = interval
    lines.append(line)
  return lines


class _Learnt(NamedTuple):
  views: dict[str, np.ndarray]
  ids: list[str]
  products: list[str]


def _both_sided(dataset: Dataset, split: str, rows: Sequence[int]) -> Learning:
  """Row, id and product of those of `rows` that have an image and a title."""
  source = dataset.source(split)
  items = ((row, export_shards.read_item(source, split, row)) for row in rows)
  return [(n, x.id, x.product) for n, x in items if x.has_image and x.has_title]


def _embed_training(
  embedder: Embedder, reader: Reader, kept: Learning
) -> _Learnt:
  """Embeds listings of the training split."""
  views = {view: [] for view in _VIEWS}
  good = []
  for batch in reader.batches([row for row, *_ in kept]):
    good.append(batch.complete_rows)
    for view, parts in views.items():
      parts.append(embedder.embed_batch(keep_modality(batch, view)))
  good_N = np.flatnonzero(np.concatenate(good)[: len(kept)])
  return _Learnt(
    {view: np.concatenate(parts)[good_N] for view, parts in views.items()},
    [kept[n][1] for n in good_N],
    [kept[n][2] for n in good_N],
  )
