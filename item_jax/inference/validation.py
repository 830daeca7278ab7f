"""Scores the validation split while a run trains.

Measures recall@10 and MAP@10 of the embedding of image and title, of the image
only and of the title only, and the accuracy of categories where the task
predicts them.
"""

import functools
import hashlib
import heapq
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config_check import ACCURACY, MEASURES
from item_jax.data import pipeline
from item_jax.data.records import Source
from item_jax.data.unreadable import (
  TooManyBadRecordsError,
  listed,
  most_unreadable,
)
from item_jax.distributed.barrier import gather, own_part
from item_jax.distributed.preemption import Preempted
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items, has_pairs
from item_jax.evaluation.search import search
from item_jax.evaluation.vectors import all_same
from item_jax.inference import export_shards
from item_jax.inference.divided import divided
from item_jax.inference.unit import embed_unit, fetch
from item_jax.tasks import Task
from item_jax.training import sharding
from item_jax.training.setup import Setup

logger = logging.getLogger(__name__)

# Rows of the validation split that are scored: whole products, up to so many.
# More would take longer and change the scores little.
MOST_ROWS = 20_000
_PREDICTED = "category"  # beside the modalities


class RetrievalEvaluator:
  """The evaluator "retrieval" (see `training.evaluators`)."""

  @staticmethod
  def names(task: Task) -> list[str]:
    """The metrics that it may measure of a task."""
    return [
      name
      for name in MEASURES
      if name.partition("/")[0] in task.modalities
      or (name.startswith("category/") and task.predict is not None)
    ]

  def __init__(self, setup: Setup):
    split, task = setup.config.data.val_split, setup.task
    rows, ids, products, categories = scored_rows(
      setup.store.source(split), split
    )
    self._rows, self._items = rows, Items(ids, products)
    number = {name: c for c, name in enumerate(setup.categories)}
    self._class_N = np.array([number.get(name, -1) for name in categories])
    self._modalities = task.modalities
    if not has_pairs(products):
      logger.info(
        f"split {split!r} has no product with two listings: no same-product"
        " search while training"
      )
      self._modalities = ()

    def run_batch(params, batch):
      out = {
        modality: embed_unit(task, params, batch, modality=modality)
        for modality in self._modalities
      }
      if task.predict is not None:
        best_B = task.predict(params, batch).argmax(-1)
        # None of a row that cannot be read, as `predict_split` has it.
        out[_PREDICTED] = jnp.where(batch.bad_B, -1, best_B)
      return out

    self._run_batch = jax.jit(
      run_batch, out_shardings=sharding.replicated(setup.mesh)
    )

  def __call__(
    self,
    params: Any,
    setup: Setup,
    should_stop: Callable[[], bool] = lambda: False,
  ) -> dict[str, float]:
    """Measures parameters.

    Args:
      params: of `setup.task`, on the devices of `setup.mesh`.
      setup: the one that this evaluator was made with.
      should_stop: is asked before every batch.

    Returns:
      {"both/recall@10": ...}; {} where the split has no two listings of a
      product and the task predicts nothing.

    Raises:
      Preempted: `should_stop` returned True.
    """
    if not self._modalities and setup.task.predict is None:
      return {}

    run = functools.partial(self._run_batch, params)
    found = run_val(run, setup, should_stop, self._rows)
    scores = {}
    for modality in self._modalities:
      if all_same(found[modality]):
        continue  # no row has that side: ids alone would rank them
      _check_stop(should_stop)  # a search of all rows takes seconds
      scored = retrieval.score(
        found[modality], self._items, bootstrap=0, search=divided(search)
      )
      for name in ("recall@10", "map@10"):
        scores[f"{modality}/{name}"] = scored.summary[name]
    if _PREDICTED in found:
      known_N = (self._class_N >= 0) & (found[_PREDICTED] >= 0)
      right_N = found[_PREDICTED] == self._class_N
      if known_N.any():
        scores[ACCURACY] = float(right_N[known_N].mean())
    return scores


def run_val(
  run: Callable[..., Any],
  setup: Setup,
  should_stop: Callable[[], bool],
  *rows: list[int],
) -> Any:
  """Runs a function on batches of the validation split, and joins its results.

  Args:
    run: takes a batch of each of `rows`, returns a tree of arrays.
    rows: lists of one length.

  Raises:
    Preempted: `should_stop` returned True.
    NotFiniteError: the parameters are of no use any more.
    TooManyBadRecordsError: more of `rows` than `data.max_bad_fraction` could
      not be read.
  """
  size, parts, bad = setup.config.batch_size, [], set()
  own = sharding.host_rows(setup.mesh, size)
  batches_of = zip(*(val_batches(setup, some) for some in rows), strict=True)
  for number, batches in enumerate(batches_of):
    _check_stop(should_stop)
    for some, batch in zip(rows, batches, strict=True):
      read = some[number * size : (number + 1) * size][own]
      bad.update(itertools.compress(read, batch.bad_B))
    placed = [sharding.to_devices(setup.mesh, size, x) for x in batches]
    parts.append(fetch(run(*placed)))
  _check_readable(setup, set(gather(sorted(bad))), len(rows[0]))
  # The last batch is filled up.
  return jax.tree.map(lambda *x: np.concatenate(x)[: len(rows[0])], *parts)


def _check_readable(setup: Setup, bad: set[int], count: int) -> None:
  """Names the rows of validation that could not be read; ends at too many."""
  if not bad:
    return
  data = setup.config.data
  source = setup.store.source(data.val_split)
  ids = [
    export_shards.read_item(source, data.val_split, row).id
    for row in sorted(bad)
  ]
  said = (
    f"{len(bad)} of {count} rows of validation cannot be read: {listed(ids, 5)}"
  )
  if len(bad) > most_unreadable(data.max_bad_fraction, count, count):
    raise TooManyBadRecordsError(
      f"{said}; more than data.max_bad_fraction={data.max_bad_fraction} allows"
    )
  if jax.process_index() == 0:
    logger.info(f"{said}; they count as rows without image and title")


def _check_stop(should_stop: Callable[[], bool]) -> None:
  if should_stop():
    raise Preempted("stopped during an evaluation; start again to go on")


def val_batches(setup: Setup, rows: list[int]) -> Iterator[Batch]:
  """Reads rows of a run's validation split, as its steps read training's."""
  config = setup.config
  return pipeline.ordered_batches(
    setup.store,
    config.data.val_split,
    setup.tokenizer,
    image_size=config.model.image_size,
    max_title_tokens=config.model.max_title_tokens,
    batch_size=config.batch_size,
    host_rows=sharding.host_rows(setup.mesh, config.batch_size),
    read_threads=config.data.read_threads,
    prefetch=config.data.prefetch,
    chosen=rows,
    grids=setup.grids.get(config.data.val_split),
  )


def scored_rows(
  source: Source, split: str, *, most: int | None = None, alone: bool = False
) -> tuple[list[int], list[str], list[str], list[str]]:
  """Returns the rows to score, ascending, and their ids, products, categories.

  All rows of a split of up to `MOST_ROWS`. Of a larger one all rows of the
  first products in the order of their ids' hashes: of the split's first rows
  few would have another listing of their product among them.

  Args:
    most: instead of `MOST_ROWS`.
    alone: reads all of them; otherwise every process reads a part, and all of
      them have to call this.
  """
  most = MOST_ROWS if most is None else most
  mine = range(len(source))
  mine = mine if alone else mine[own_part(len(source))]
  known = ((row, export_shards.read_item(source, split, row)) for row in mine)
  found = ([row, x.id, x.product, x.category] for row, x in known)
  # One more, to see whether the last product is complete.
  found = heapq.nsmallest(most + 1, found, _by_product)
  if not alone:
    found = heapq.nsmallest(most + 1, gather(found), _by_product)
  if len(found) > most:
    beyond = _by_product(found.pop())[0]
    whole = [row for row in found if _by_product(row)[0] != beyond]
    found = whole or found
  rows, ids, products, categories = map(list, zip(*sorted(found), strict=True))
  return rows, ids, products, categories


def _by_product(found: list) -> tuple[bytes, int]:
  """Sorts the rows of one product together, whatever the split's order."""
  row, listing, product, _ = found
  return product_hash(product, listing), row


def product_hash(product: str, listing: str) -> bytes:
  """Hashes a product's id; a listing without one is a product of its own."""
  return hashlib.sha256((product or listing).encode()).digest()
