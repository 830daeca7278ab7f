"""Looks up the evaluators of a run, and calls them.

An evaluator measures a run while it trains: a function

  (params, setup, should_stop) -> {name: value}

that every process calls at the same steps. A class is made once, with the
`Setup`, before the first step, and then called in the same way. It may have a
function `names`, (task) -> the names of all that it may measure, by which
`checkpoint.best` is checked before the first step.

The parameters are those that a checkpoint opens with: where an embedding is
parts side by side their weights are chosen first (`part_weights`).
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from item_jax.config import Config
from item_jax.config_check import ACCURACY
from item_jax.errors import UserError, name_kind
from item_jax.registry import look_up
from item_jax.tasks import Task
from item_jax.training.part_weights import part_widths, weigh_parts

_WEIGHER = "item_jax.inference.part_weigher:PartWeigher"
# Names for `config.evaluators`; any other is MODULE:NAME.
EVALUATORS = {
  "retrieval": "item_jax.inference.validation:RetrievalEvaluator",
  "modality": "item_jax.inference.modality_evaluator:ModalityEvaluator",
}


def find_evaluator(name: str) -> Callable:
  """Returns the evaluator with a name of `EVALUATORS`, or at "MODULE:NAME".

  Raises:
    UserError: there is none.
  """
  path = EVALUATORS.get(name, name)
  return look_up(path, EVALUATORS, option="config.evaluators")


def with_best(config: Config, task: Task, *, new: bool) -> Config:
  """Returns the config with the `checkpoint.best` that the run is to have.

  A new run that predicts categories is ranked by how well, unless
  `checkpoint.best` is given.

  Raises:
    UserError: no evaluator can measure `checkpoint.best`.
  """
  found = {name: find_evaluator(name) for name in config.evaluators}
  measured = _stated(found, task)
  if new and ACCURACY in measured and not config.checkpoint.is_given("best"):
    config = copy.deepcopy(config)
    config.checkpoint.prefer(best=ACCURACY)
  unknown = [name for name, e in found.items() if not hasattr(e, "names")]
  if found and not unknown and config.checkpoint.best not in measured:
    raise UserError(
      f"checkpoint.best={config.checkpoint.best!r}: of task={config.task!r}"
      f" with model.name={config.model.name!r} the evaluators"
      f" {', '.join(found)} measure {', '.join(measured)}"
    )
  return config


def _stated(found: dict[str, Any], task: Task) -> list[str]:
  """The names of all that evaluators say they measure."""
  stated = [e.names(task) for e in found.values() if hasattr(e, "names")]
  return [name for names in stated for name in names]


class Evaluators:
  """All evaluators of a run, as one."""

  def __init__(self, setup: Any):
    """`setup`: the `training.setup.Setup` of the run."""
    self._setup = setup
    found = {name: find_evaluator(name) for name in setup.config.evaluators}
    self._stated = _stated(found, setup.task)
    self._weigh = None
    if found and part_widths(setup.task):
      self._weigh = look_up(_WEIGHER, {}, option="")(setup)
    self._evaluators = {
      name: e(setup) if isinstance(e, type) else e for name, e in found.items()
    }

  def __bool__(self) -> bool:
    return bool(self._evaluators)

  def __call__(
    self,
    params: Any,
    should_stop: Callable[[], bool],
    *,
    untrained: bool = False,
  ) -> dict[str, float]:
    """Returns what all of them measure.

    Args:
      untrained: whether nothing but the seed and the sides' data made them.

    Raises:
      UserError: one measured what is no number, or what another one measured
        too, or none measured `checkpoint.best`.
      Preempted: an evaluator stopped because `should_stop` said so.
    """
    weights = {}
    if self._weigh:
      weights = self._weigh(
        params, self._setup, should_stop, untrained=untrained
      )
      params = weigh_parts(self._setup.task, params, weights)
    metrics, source = (
      dict(weights),
      dict.fromkeys(weights, "the parts' weights"),
    )
    for name, evaluator in self._evaluators.items():
      try:
        found = evaluator(params, self._setup, should_stop)
      except Exception as error:
        error.add_note(f"raised by the evaluator {name!r}")
        raise
      if not isinstance(found, Mapping):
        raise UserError(
          f"the evaluator {name!r} gave {name_kind(found)}: expected"
          " {name: value}"
        )
      for metric, value in found.items():
        if metric in source:
          raise UserError(
            f"the evaluators {source[metric]!r} and {name!r} both measure"
            f" {metric!r}"
          )
        metrics[metric], source[metric] = _number(name, metric, value), name
    best = self._setup.config.checkpoint.best
    if best not in metrics and best not in self._stated:
      raise UserError(
        f"checkpoint.best={best!r}: the evaluators"
        f" {', '.join(self._evaluators)} measured {', '.join(metrics)}"
      )
    return metrics


def _number(evaluator: str, metric: str, value: Any) -> float:
  try:
    return float(value)
  except (TypeError, ValueError):
    raise UserError(
      f"the evaluator {evaluator!r} gave {metric}={value!r}: expected a number"
    ) from None
