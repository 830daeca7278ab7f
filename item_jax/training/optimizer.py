"""Builds AdamW with warm-up and linear decay."""

from typing import Any

import jax
import optax


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
