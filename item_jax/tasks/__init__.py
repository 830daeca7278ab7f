"""Builds a task by its name: a model and the objectives that train it.

What trains, exports and measures is given a `Task` and knows no names.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from item_jax.batch import Batch
from item_jax.components import MODELS, OBJECTIVES, find_maker, find_task
from item_jax.config import Config
from item_jax.data.records import Dataset
from item_jax.errors import UserError, name_kind
from item_jax.models.base import (
  Network,
  Vocabulary,
  example_batch,
  padded_vocab_size,
)
from item_jax.models.stems import make_stem
from item_jax.objectives import category
from item_jax.objectives.base import Context, Objective, combine
from item_jax.tasks.base import (
  Task,
  core_names,
  count_parameters,
  initial_params,
)

__all__ = [
  "Task",
  "core_names",
  "count_parameters",
  "example_batch",
  "find_categories",
  "initial_params",
  "make_network",
  "make_task",
  "padded_vocab_size",
  "step_batch",
]


def step_batch(config: Config, rows: int = 1) -> Batch:
  """A Batch of zeros, of the shapes that a step reads: features or pixels."""
  batch = example_batch(config, rows)
  stem = make_stem(config)
  if not config.data.features or stem is None:
    return batch
  shape = (rows, stem.side, stem.side, stem.values)
  return batch._replace(image_BHWC=np.zeros(shape, np.float16))


def find_categories(
  config: Config, store: Dataset, split: str
) -> tuple[str, ...]:
  """The classes of a task that tells categories apart; () for others."""
  if not find_task(config.task).labelled:
    return ()
  return category.find_categories(store, split)


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds the model that `config.model.name` names."""
  maker = find_maker(config.model.name, MODELS, option="model.name")
  network = maker(config, vocabulary, attention=attention)
  return network._replace(init=_traced_once(network.init))


def make_task(
  config: Config,
  vocabulary: Vocabulary,
  *,
  categories: Sequence[str] = (),
  attention: str = "xla",
) -> Task:
  """Builds what `config.task`, `.objectives` and `.model.name` name.

  Args:
    vocabulary: a tokenizer.
    categories: leaf paths to tell apart, where the task is labelled.
    attention: the kernel, chosen beforehand; never "auto".

  Raises:
    UserError: a name that leads nowhere, or to what makes no Objective;
      nothing to train; microbatches
      where an objective or the model needs the whole batch.
  """
  network = make_network(config, vocabulary, attention=attention)
  context = Context(config, network, vocabulary, tuple(categories))
  names = find_task(config.task).objectives
  makers = [find_maker(name, OBJECTIVES, option="task") for name in names]
  makers += [
    find_maker(name, {}, option="objectives") for name in config.objectives
  ]
  made = [make(context) for make in makers]
  for name, one in zip((*names, *config.objectives), made, strict=True):
    if not isinstance(one, Objective | None):
      raise UserError(
        f"the objective {name!r} gave {name_kind(one)}: expected an Objective"
      )
  objectives = [one for one in made if one is not None]
  if not objectives and config.steps:
    raise UserError(
      f"task={config.task!r}: every objective has weight 0, so nothing is"
      f" trained in steps={config.steps}"
    )
  objective = combine(objectives)

  def init(key):
    return network.init(key) | objective.init_params(key)

  _check_batch(config, network, objective)
  return Task(
    *(network, vocabulary, objective),
    init=_traced_once(init),
    embed=_traced_once(network.embed),
  )


def _traced_once(function: Callable) -> Callable:
  """The same, for all programs that it is part of.

  A run asks for its parameters' shapes, its optimizer's and their values, and
  for embeddings of both sides and of each.
  """
  return jax.jit(function, inline=True)


def _check_batch(
  config: Config, network: Network, objective: Objective
) -> None:
  """Raises UserError where what needs the whole batch would not get it."""
  compared = objective.whole_batch
  if compared and config.batch_size < 2:
    raise UserError(
      f"batch_size={config.batch_size}: {compared} compares a listing with the"
      " others of its batch"
    )
  whole = compared or network.whole_batch
  if whole and config.optim.accumulate > 1:
    raise UserError(
      f"optim.accumulate={config.optim.accumulate}: {whole} needs the whole"
      " batch at once"
    )
