"""Names the models, stems, objectives and tasks that this package has."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from item_jax.registry import look_up

# Where the maker of each is, "module:NAME", imported when it is needed.
MODELS = {
  "item": "item_jax.models.item:make_network",
  "resnet50": "item_jax.models.resnet:make_network",
  "efficientnet_lite0": "item_jax.models.efficientnet:make_network",
  "roberta": "item_jax.models.roberta:make_network",
  "clip": "item_jax.models.clip:make_network",
}
# What an image becomes before the transformer (`models.stems`).
STEMS = "patch", "efficientnet_lite0", "efficientnet_lite0_blocks", "resnet50"
OBJECTIVES = {
  "item": "item_jax.objectives.item:make_objective",
  "item_beside": "item_jax.objectives.item:make_beside",
  "align": "item_jax.objectives.align:make_objective",
  "category": "item_jax.objectives.category:make_objective",
  "mlm": "item_jax.objectives.mlm:make_objective",
  "contrastive": "item_jax.objectives.contrastive:make_objective",
  "products": "item_jax.objectives.products:make_objective",
}


class TaskSpec(NamedTuple):
  """What a run trains.

  objectives: names of `OBJECTIVES` or dotted paths; their losses are added.
  model: the only model it trains; None for any.
  labelled: it tells the leaf categories of the training split apart.
  paired: rows 2i and 2i + 1 of its batches are of one product (`data.order`).
  """

  objectives: tuple[str, ...]
  model: str | None = None
  labelled: bool = False
  paired: bool = False


TASKS = {
  "item": TaskSpec(("item", "align"), model="item"),
  "category": TaskSpec(("category",), labelled=True),
  "mlm": TaskSpec(("mlm",), model="roberta"),
  "contrastive": TaskSpec(("contrastive",), model="clip"),
  "none": TaskSpec(()),
  "products": TaskSpec(
    ("products", "item_beside", "align"), model="item", paired=True
  ),
}


def find_maker(name: str, known: Mapping[str, str], *, option: str) -> Any:
  """The maker of a name of `MODELS` or `OBJECTIVES`, or of a dotted path.

  Raises:
    UserError: there is none; it names `option`.
  """
  return look_up(known.get(name, name), known, option=option)


def find_task(name: str) -> TaskSpec:
  """The task of that name or dotted path, or UserError."""
  return look_up(name, TASKS, option="task")
