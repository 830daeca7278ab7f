"""Sets what each part of an embedding weighs (`models.sides`).

Training teaches it on the way, for a loss of a batch. What finds most among all
listings is chosen on validation, at each evaluation, and kept with what is
measured there, as "weight/PART". A checkpoint that is opened has these weights;
a run that goes on has its own.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from item_jax.models.base import SIDES
from item_jax.tasks import Task

PREFIX = "weight/"  # of what a part weighs, among what was measured


def part_widths(task: Task) -> Mapping[str, int]:
  """{part: width} of an embedding; {} where it has no parts."""
  return task.parts.get(task.pools[0], {})


def as_metrics(task: Task, shares: tuple[float, ...]) -> dict[str, float]:
  """Names what each part counts in a cosine."""
  names = [PREFIX + name for name in part_widths(task)]
  return dict(zip(names, shares, strict=True))


def trained_weights(params: Any, *, cls: bool = True) -> tuple[float, ...]:
  """What each part counts in a cosine; without `cls` the first nothing."""
  shares_P = np.asarray(params[SIDES]["shares"], np.float64)
  held_P = np.exp(shares_P - shares_P.max())
  held_P[0] *= cls
  return tuple((held_P / held_P.sum()).tolist())


def weigh_parts(
  task: Task, params: Any, metrics: Mapping[str, float] | None
) -> Any:
  """Returns parameters whose parts weigh what `metrics` say, if they do."""
  names = [PREFIX + name for name in part_widths(task)]
  if not names or not metrics or names[0] not in metrics:
    return params
  given = params[SIDES]["shares"]
  with np.errstate(divide="ignore"):  # of 0 it is what softmax makes 0 of
    shares_P = np.log(np.array([metrics[name] for name in names], given.dtype))
  if isinstance(given, jax.Array):
    shares_P = jax.device_put(shares_P, given.sharding)
  return {**params, SIDES: {**params[SIDES], "shares": shares_P}}
