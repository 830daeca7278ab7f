"""Builds AdamW with warm-up and linear decay, and rates by parameter."""

import re
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from item_jax.config import Config, Optim
from item_jax.models.base import SIDES, STEM


def make_schedule(*, peak: float, warmup: int, steps: int) -> optax.Schedule:
  """Returns a rate linear from 0 to the peak, then linear to 0 at `steps`.

  Args:
    peak: the largest learning rate.
    warmup: steps until it is reached.
    steps: of the whole run.
  """
  warmup = min(warmup, max(steps - 1, 0))
  return optax.join_schedules(
    [
      optax.linear_schedule(0.0, peak, warmup),
      optax.linear_schedule(peak, 0.0, steps - warmup),
    ],
    [warmup],
  )


def run_schedule(config: Config) -> optax.Schedule:
  """Returns the learning rate of a run at each of its steps."""
  o = config.optim
  return make_schedule(peak=o.lr, warmup=o.warmup, steps=config.steps)


def decays(params: Any) -> Any:
  """Returns a tree of bools: True where weight decay applies.

  paper: AdamW; which parameters decay is not stated. This is BERT's rule:
  kernels do; biases, norms and embeddings (tables that are parameters by
  themselves) don't.
  """

  def rule(path, leaf):
    return leaf.ndim > 1 and path[-1].key == "kernel"

  return jax.tree_util.tree_map_with_path(rule, params)


def make_optimizer(
  schedule: optax.Schedule,
  *,
  b1: float,
  b2: float,
  eps: float,
  decay: float,
  clip: float,
) -> optax.GradientTransformation:
  """Returns AdamW on gradients clipped to the global norm `clip`."""
  return optax.chain(
    optax.clip_by_global_norm(clip),
    optax.adamw(
      schedule, b1=b1, b2=b2, eps=eps, weight_decay=decay, mask=decays
    ),
  )


def run_optimizer(
  params: Any,
  schedule: optax.Schedule,
  optim: Optim,
  *,
  taken: Collection[str] = (),
  core: Collection[str] = (),
) -> optax.GradientTransformation:
  """Returns the optimizer of a run: `make_optimizer`'s, at rates by parameter.

  At the options' defaults it is `make_optimizer`'s and nothing more. What
  never moves has no moments, and no part in the global norm.

  Args:
    params: of the run, or their shapes.
    taken: "encoder/layer_0/norm1/scale" of each leaf that `start_from` gave.
    core: the first names of what an embedding needs; the others are heads.
  """
  optimizer = make_optimizer(
    schedule,
    b1=optim.b1,
    b2=optim.b2,
    eps=optim.eps,
    decay=optim.decay,
    clip=optim.clip,
  )
  rates = rate_factors(params, optim, taken=taken, core=core)
  factors = jax.tree.leaves(rates)
  if not all(factors):
    moves = jax.tree.map(lambda rate: "moves" if rate else "stays", rates)
    optimizer = optax.partition(
      {"moves": optimizer, "stays": optax.set_to_zero()}, moves
    )
  parts = [optimizer]
  if not {0.0, 1.0}.issuperset(factors):
    parts.append(
      optax.stateless(
        lambda updates, _: jax.tree.map(jnp.multiply, updates, rates)
      )
    )
  if optim.freeze_steps:
    held = optax.join_schedules(
      [optax.constant_schedule(0.0), optax.constant_schedule(1.0)],
      [optim.freeze_steps],
    )
    is_taken = _map_named(lambda name, _: name in taken, params)
    parts.append(optax.masked(optax.scale_by_schedule(held), is_taken))
  return optax.chain(*parts) if len(parts) > 1 else optimizer


def rate_factors(
  params: Any,
  optim: Optim,
  *,
  taken: Collection[str] = (),
  core: Collection[str] = (),
) -> Any:
  """Returns a tree of floats: each leaf's rate as a factor of the schedule's.

  Of what was taken the rates fall from an encoder's last layer to its first
  (Clark et al. 2020, Bao et al. 2022). Arguments as of `run_optimizer`.
  """
  names = jax.tree.leaves(_map_named(lambda name, _: name, params))
  found = (re.match(r"(.*/)?encoder/layer_(\d+)/", name) for name in names)
  depths: dict[str, int] = {}
  for match in filter(None, found):
    above, layer = match[1] or "", int(match[2])
    depths[above] = max(depths.get(above, 0), layer + 1)

  def factor(name, _):
    if name.split("/")[0] == STEM:
      return float(optim.stem_rate)
    if name.split("/")[0] == SIDES:
      return float(optim.sides_rate)
    if name not in taken:
      return 1.0
    below = _layers_above(name, depths, core)
    return float(optim.start_rate * optim.layer_decay**below)

  return _map_named(factor, params)


def trained_leaves(
  params: Any, optim: Optim, *, taken: Collection[str], core: Collection[str]
) -> Any:
  """Returns a tree of bools, what ever moves; None where all does."""
  rates = rate_factors(params, optim, taken=taken, core=core)
  moves = jax.tree.map(bool, rates)
  return None if all(jax.tree.leaves(moves)) else moves


def _layers_above(name: str, depths: dict[str, int], core) -> int:
  """How many layers lie between a leaf and the top of its encoder."""
  for above, layers in depths.items():
    if not name.startswith(above) or name.split("/")[0] not in core:
      continue
    inside = name.removeprefix(above)
    if match := re.match(r"encoder/layer_(\d+)/", inside):
      return layers - 1 - int(match[1])
    return 0 if inside.startswith("encoder/") else layers
  return 0


def _map_named(function, tree: Any) -> Any:
  """Maps function(name, leaf), the names of a leaf's path joined by "/"."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: function("/".join(key.key for key in path), leaf), tree
  )
