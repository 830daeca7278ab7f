"""Names models, objectives and tasks, and finds those of other packages."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from item_jax.errors import UserError

# What each name stands for: "module:attribute", imported when it is needed.
MODELS = {
  "item": "item_jax.models.item:make_network",
  "resnet50": "item_jax.models.resnet:make_network",
  "roberta": "item_jax.models.roberta:make_network",
  "clip": "item_jax.models.clip:make_network",
}
OBJECTIVES = {
  "item": "item_jax.objectives.item:make_objective",
  "align": "item_jax.objectives.align:make_objective",
  "category": "item_jax.objectives.category:make_objective",
  "mlm": "item_jax.objectives.mlm:make_objective",
  "contrastive": "item_jax.objectives.contrastive:make_objective",
}


class TaskSpec(NamedTuple):
  """What a run trains.

  objectives: names of `OBJECTIVES` or dotted paths; their losses are added.
  model: the only model it trains; None for any.
  labelled: it tells the leaf categories of the training split apart.
  """

  objectives: tuple[str, ...]
  model: str | None = None
  labelled: bool = False


TASKS = {
  "item": TaskSpec(("item", "align"), model="item"),
  "category": TaskSpec(("category",), labelled=True),
  "mlm": TaskSpec(("mlm",), model="roberta"),
  "contrastive": TaskSpec(("contrastive",), model="clip"),
}


def resolve(name: str, known: Mapping[str, Any], *, option: str) -> Any:
  """Finds what a name or a dotted path stands for.

  Args:
    name: a key of `known`, or "package.module:attribute".
    known: names and what they stand for: an object, or a dotted path.
    option: what the name was given as, for the message.

  Raises:
    UserError: neither is there.
  """
  found = known.get(name, name)
  if not isinstance(found, str):
    return found
  module, colon, attribute = found.partition(":")
  if not colon:
    raise UserError(
      f"{option}={name!r}: known are {', '.join(known)}, or give"
      " package.module:attribute"
    )
  try:
    holder = importlib.import_module(module)
  except ModuleNotFoundError as error:
    # Something else that the module imports may be what is missing.
    if error.name is None or not f"{module}.".startswith(f"{error.name}."):
      raise
    raise UserError(
      f"{option}={name!r}: there is no module {error.name!r} on Python's path;"
      " is its package installed, or its folder in PYTHONPATH?"
    ) from error
  if not hasattr(holder, attribute):
    raise UserError(f"{option}={name!r}: {module} has no {attribute!r}")
  return getattr(holder, attribute)


def find_task(name: str) -> TaskSpec:
  """The task of that name or dotted path, or UserError."""
  return resolve(name, TASKS, option="task")
