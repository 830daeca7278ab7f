"""States what trains, exports and measures needs to know of a task."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from item_jax.batch import Batch
from item_jax.models.base import BATCH_STATS, Network, Vocabulary
from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for


class Task(NamedTuple):
  """A model and what it is trained for; every function is pure.

  init(key) -> params, a dict.
  embed(params, batch) -> float32 [B,D], not yet of unit length.
  """

  network: Network
  vocabulary: Vocabulary
  objective: Objective
  init: Callable
  embed: Callable

  @property
  def core(self) -> Callable:
    """(key) -> params, those entries only that an embedding needs.

    The others are heads, which a run that starts from another one may have to
    make new.
    """
    return self.network.init

  @property
  def pools(self) -> tuple[str, ...]:
    """The names that `pool` gives; the first one is the embedding."""
    return self.network.pools

  @property
  def parts(self) -> Mapping[str, Mapping[str, int]]:
    """{pool: {part: width}} of those that are parts side by side."""
    return self.network.parts

  def pool(self, params: Any, batch: Batch) -> dict[str, jax.Array]:
    """Embeds in every way that the network has, float32 [B,E] each."""
    if self.network.pool is None:
      return {self.pools[0]: self.embed(params, batch)}
    return self.network.pool(params, batch)

  @property
  def predict(self) -> Callable | None:
    """(params, batch) -> float32 [B,C], log-probabilities of the categories.

    None where the task has none.
    """
    return self.objective.predict

  @property
  def chance_levels(self) -> Callable:
    """(store, split, tokenizer) -> {loss: its value at chance level}."""
    return self.objective.chance_levels

  @property
  def dims(self) -> int:
    """D of the embedding."""
    return self.network.dims

  @property
  def modality(self) -> str | None:
    """ "image" or "title", where the network sees only that."""
    return self.network.modality

  @property
  def modalities(self) -> tuple[str, ...]:
    """What an embedding can be made of.

    A single-modality model exports its embedding as "both".
    """
    return ("both",) if self.modality else ("both", "image", "title")

  @property
  def sequence(self) -> str:
    """How long what the network reads of a pair is, in words."""
    return self.network.sequence

  @property
  def train_flops(self) -> float:
    """Of a pair, forward and backward."""
    return self.objective.train_flops

  @property
  def embed_flops(self) -> float:
    """Of a pair."""
    return self.network.embed_flops

  @property
  def attention_shapes(self) -> list[tuple[int, int, int, bool]]:
    """Each (positions, heads, depth, causal) that training attends with."""
    shapes = (one.attention_shape for one in self.objective.passes)
    return list(dict.fromkeys(shape for shape in shapes if shape))


def initial_params(task: Task, seed: int) -> Any:
  """The parameters that a run with this seed starts from."""
  return task.init(key_for(jax.random.key(seed), 0, "init"))


def core_names(task: Task) -> frozenset[str]:
  """The first names of the parameters that an embedding needs."""
  return frozenset(jax.eval_shape(task.core, jax.random.key(0)))


def count_parameters(params: Any) -> int:
  """Numbers that training moves; running statistics are none."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return sum(
    leaf.size
    for path, leaf in leaves
    if all(key.key != BATCH_STATS for key in path)
  )
