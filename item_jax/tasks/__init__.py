"""A task's name in; its model, objective, embedding and costs out.

The only switch on strings, with `networks`: what trains, exports and measures
is handed a `Task` and knows no names.
"""

from collections.abc import Sequence

from item_jax.config import Config
from item_jax.data.records import Store
from item_jax.data.tokenizer import Tokenizer
from item_jax.errors import UserError
from item_jax.tasks import category, contrastive, item, mlm
from item_jax.tasks.base import Task, count_parameters, initial_params
from item_jax.tasks.networks import (
  attention_shapes,
  example_batch,
  make_network,
  padded_vocab_size,
)

__all__ = [
  "Task",
  "attention_shapes",
  "count_parameters",
  "example_batch",
  "find_categories",
  "initial_params",
  "make_task",
  "padded_vocab_size",
]

_MAKERS = {
  "item": item.make_task,
  "category": category.make_task,
  "mlm": mlm.make_task,
  "contrastive": contrastive.make_task,
}


def find_categories(
  config: Config, store: Store, split: str
) -> tuple[str, ...]:
  """The classes of a task that tells categories apart; () for others."""
  if config.task != "category":
    return ()
  return category.find_categories(store, split)


def make_task(
  config: Config,
  tokenizer: Tokenizer,
  *,
  categories: Sequence[str] = (),
  attention: str = "xla",
) -> Task:
  """Builds what `config.task` and `config.model.name` name.

  Args:
    categories: leaf paths to tell apart; of the task "category" alone.
    attention: "xla" or "cudnn", chosen beforehand.
  """
  if config.task not in _MAKERS:
    raise UserError(
      f"task={config.task!r}: known are {', '.join(sorted(_MAKERS))}"
    )
  network = make_network(config, tokenizer, attention=attention)
  return _MAKERS[config.task](config, tokenizer, network, categories)
