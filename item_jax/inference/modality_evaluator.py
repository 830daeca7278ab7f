"""Measures while a run trains which modality moves an embedding."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import jax

from item_jax.errors import UserError
from item_jax.evaluation.derange import derange
from item_jax.evaluation.modality import SWAPS, balance
from item_jax.inference import export_shards
from item_jax.inference.disturb import disturb
from item_jax.inference.unit import embed_unit
from item_jax.inference.validation import run_val, scored_rows
from item_jax.tasks import Task
from item_jax.training import sharding
from item_jax.training.setup import Setup

logger = logging.getLogger(__name__)

# Listings of the validation split: a mean of cosines needs no more.
MOST_ROWS = 1_000
_NAMES = ("modality/balance", *(f"modality/{view}" for view in SWAPS.values()))


class ModalityEvaluator:
  """The evaluator "modality" (see `training.evaluators`).

  "modality/other_title" is the mean cosine of an embedding with itself after
  the title became another product's, "modality/other_image" likewise, and
  "modality/balance" the balance score of both.
  """

  @staticmethod
  def names(task: Task) -> list[str]:
    """The metrics that it may measure of a task."""
    return list(_NAMES) if task.modality is None else []

  def __init__(self, setup: Setup):
    self._rows, self._donors = [], []
    split, task = setup.config.data.val_split, setup.task
    if task.modality is not None:
      logger.info(
        f"model.name={setup.config.model.name!r} sees the {task.modality} only:"
        " nothing can dominate it"
      )
      return
    source = setup.store.source(split)
    rows, *_ = scored_rows(source, split, most=MOST_ROWS)
    items = [export_shards.read_item(source, split, row) for row in rows]
    whole = [
      (row, item.product)
      for row, item in zip(rows, items, strict=True)
      if item.has_image and item.has_title
    ]
    try:
      donors = derange([p for _, p in whole], seed=setup.config.seed)
    except UserError as error:
      logger.info(f"split {split!r}: {error}; no modality is exchanged")
      return
    self._rows = [row for row, _ in whole]
    self._donors = [self._rows[donor] for donor in donors]

    def run_batch(params, batch, donor):
      own_BD = embed_unit(task, params, batch, modality="both")
      found = {"kept": batch.complete_rows & donor.complete_rows}
      for view in SWAPS.values():
        other = disturb(batch, donor, view, setup.tokenizer)
        other_BD = embed_unit(task, params, other, modality="both")
        # One minus the cosine, which would round where it is near 1.
        found[view] = ((own_BD - other_BD) ** 2).sum(-1) / 2
      return found

    self._run_batch = jax.jit(
      run_batch, out_shardings=sharding.replicated(setup.mesh)
    )

  def __call__(
    self,
    params: Any,
    setup: Setup,
    should_stop: Callable[[], bool] = lambda: False,
  ) -> dict[str, float]:
    """Measures parameters, as `inference.validation.RetrievalEvaluator` does.

    Returns:
      The cosines and the balance score; the score only where a side moves
      anything. {} where no modality can be exchanged.

    Raises:
      Preempted: `should_stop` returned True.
    """
    if not self._rows:
      return {}
    run = functools.partial(self._run_batch, params)
    joined = run_val(run, setup, should_stop, self._rows, self._donors)
    kept = joined.pop("kept")
    if not kept.any():
      return {}
    moves = {view: float(found[kept].mean()) for view, found in joined.items()}
    score = balance(*(moves[SWAPS[side]] for side in ("title", "image")))
    found = {f"modality/{view}": 1 - move for view, move in moves.items()}
    return found if score is None else found | {"modality/balance": score}
