"""What a training step needs to know of an objective, whichever it is."""

from collections.abc import Callable
from typing import NamedTuple


class Objective(NamedTuple):
  """What a training step needs to know of a task; all are pure functions.

  corrupt(root, step, batch) -> view, over the whole global batch.
  counts(view) -> {name: denominator}, over the whole global batch.
  totals(params, view, key) -> ({name: numerator}, batch_stats), over any part
    of it; `key` is dropout's. Every name of `weights` is a loss; others are
    measures. `batch_stats` are top-level entries of params that no gradient
    moves, as they stand after the step: batch norm's running statistics. {}
    where there are none.
  weights: {name: weight in the sum of losses}.
  """

  corrupt: Callable
  counts: Callable
  totals: Callable
  weights: dict[str, float]
