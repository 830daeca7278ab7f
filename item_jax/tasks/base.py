"""What trains, exports and measures needs to know of a task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for

# Batch norm's running statistics: an entry of params that no gradient moves.
BATCH_STATS = "statistics"


class Task(NamedTuple):
  """A model and what it is trained for; every function is pure.

  init(key) -> params, a dict.
  core(key) -> params, those entries alone that an embedding needs; the others
    are heads, which a run that starts from another one may have to make new.
  embed(params, batch) -> float32 [B,D], not yet of unit length.
  predict(params, batch) -> float32 [B,C], log-probabilities of the categories;
    None where the task has none.
  floors(store, split, words) -> {loss name: value of ignorance}.
  """

  objective: Objective
  init: Callable
  core: Callable
  embed: Callable
  predict: Callable | None
  floors: Callable
  dims: int  # D
  side: str | None  # "image" or "title", where the network sees that alone
  sequence: str  # how long what the network reads of a pair is, in words
  train_flops: float  # of a pair, forward and backward
  embed_flops: float  # of a pair

  @property
  def modalities(self) -> tuple[str, ...]:
    """What an embedding can be asked of; a lone side answers to "both"."""
    return ("both",) if self.side else ("both", "image", "title")


def initial_params(task: Task, seed: int) -> Any:
  """The parameters that a run with this seed starts from."""
  return task.init(key_for(jax.random.key(seed), 0, "init"))


def count_parameters(params: Any) -> int:
  """Numbers that training moves; running statistics are none."""
  moved = {name: x for name, x in params.items() if name != BATCH_STATS}
  return sum(x.size for x in jax.tree.leaves(moved))
