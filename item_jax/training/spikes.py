"""Detects gradient-norm spikes with a median/MAD threshold.

A norm is a spike when it is above

  median + deviations * 1.4826 * MAD

of the last accepted norms, where MAD is the median distance from their median
and 1.4826 makes it a standard deviation where norms are normal. A few outliers
move neither far. Until half of the history is filled nothing is a spike. A norm
that is a spike, or is not finite, never enters the history, so that outliers
cannot raise the threshold.
"""

from typing import Any

import flax.struct
import jax.numpy as jnp

_NORMAL = 1.4826  # 1 / 0.6745, the third quartile of the normal distribution


@flax.struct.dataclass
class Spikes:
  """The history that a State carries from step to step."""

  norms: Any  # float32 [history], accepted, the newest last; NaN: unfilled
  total: Any  # int32, steps that were spikes


@flax.struct.dataclass
class Detection:
  """What was found at one step."""

  spike: Any  # bool
  norm: Any
  threshold: Any
  total: Any  # int32, spikes until now


def init(history: int) -> Spikes:
  """The history before the first step, of so many norms."""
  return Spikes(
    norms=jnp.full((history,), jnp.nan, jnp.float32),
    total=jnp.zeros((), jnp.int32),
  )


def threshold(norms: Any, *, deviations: float) -> Any:
  """The largest norm that is no spike; infinity while too few are known.

  Args:
    norms: [history], NaN where unfilled.
    deviations: robust standard deviations above the median.
  """
  median = jnp.nanmedian(norms)
  spread = _NORMAL * jnp.nanmedian(jnp.abs(norms - median))
  enough = 2 * jnp.isfinite(norms).sum() >= len(norms)
  return jnp.where(enough, median + deviations * spread, jnp.inf)


def detect(
  spikes: Spikes, norm, finite, *, deviations: float
) -> tuple[Spikes, Detection]:
  """Returns the next history, and whether a step is a spike.

  Args:
    norm: of its gradient, before clipping.
    finite: bool, whether loss and gradient are finite; a step that is not
      finite is no spike.
  """
  limit = threshold(spikes.norms, deviations=deviations)
  spike = finite & (norm > limit)
  joined = jnp.append(spikes.norms[1:], norm)
  norms = jnp.where(finite & ~spike, joined, spikes.norms)
  total = spikes.total + spike
  return Spikes(norms, total), Detection(spike, norm, limit, total)
