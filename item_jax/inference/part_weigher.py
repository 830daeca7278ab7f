"""Chooses on validation what the parts of an embedding weigh, in training."""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

from item_jax.evaluation.items import Items, has_pairs
from item_jax.evaluation.search import search
from item_jax.evaluation.trials import FEWEST_UNPROVED
from item_jax.evaluation.weighting import choose_weights, with_absent
from item_jax.inference.divided import divided
from item_jax.inference.validation import run_val, scored_rows
from item_jax.training import sharding
from item_jax.training.part_weights import (
  as_metrics,
  part_widths,
  trained_weights,
)
from item_jax.training.setup import Setup

logger = logging.getLogger(__name__)

# Of the validation split, whole products: dozens of weights are tried.
MOST_ROWS = 2_000


class PartWeigher:
  """Made once, before the first step; called at each evaluation."""

  def __init__(self, setup: Setup):
    split, task = setup.config.data.val_split, setup.task
    self._rows, ids, products, _ = scored_rows(
      setup.store.source(split), split, most=MOST_ROWS
    )
    self._items = Items(ids, products)
    self._can_choose = has_pairs(products)
    several = sum(
      count > 1 for count in Counter(filter(None, products)).values()
    )
    if several < FEWEST_UNPROVED:
      logger.info(
        f"what the parts of the embedding weigh is not chosen: {split!r} has"
        f" {several} products of two listings or more, expected"
        f" {FEWEST_UNPROVED}"
      )
    self._embed = jax.jit(
      task.embed, out_shardings=sharding.replicated(setup.mesh)
    )

  def __call__(
    self,
    params: Any,
    setup: Setup,
    should_stop: Callable[[], bool],
    *,
    untrained: bool = False,
  ) -> dict[str, float]:
    """Measures what each part is to weigh, {"weight/cls": ...}.

    {} where the weights that were trained find as much, or where no product of
    the split has two listings. A [CLS] that is untrained is a random mixture of
    what sides know: without a measured gain it weighs nothing.

    Raises:
      Preempted: `should_stop` returned True.
    """
    trained = trained_weights(params, cls=not untrained)
    given = trained if untrained else None
    if not self._can_choose:
      return as_metrics(setup.task, given) if given else {}
    run = functools.partial(self._embed, params)
    val_ND = run_val(run, setup, should_stop, self._rows)
    widths = part_widths(setup.task)
    shares = choose_weights(
      val_ND,
      self._items,
      tuple(widths.values()),
      given=given,
      search=divided(search),
    )
    if shares is None:
      return {}
    return as_metrics(setup.task, with_absent(shares, trained))
