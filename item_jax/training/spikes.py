"""Tells a spike from a step: the gradient norms accepted before in, whether
this one lies beyond them out.

A norm is a spike when it is above

  median + deviations * 1.4826 * MAD

of the last accepted norms, where MAD is the median distance from their median
and 1.4826 makes it a standard deviation where norms are normal. Neither moves
far for the few that are odd. Until half of the history is there nothing is
called a spike. A norm that is one, or is not finite, never joins the history,
so what is looked back on cannot be poisoned.
"""

from typing import Any

import flax.struct
import jax.numpy as jnp

_NORMAL = 1.4826  # 1 / 0.6745, the third quartile of the normal distribution


@flax.struct.dataclass
class Spikes:
  """What a State carries for it."""

  norms: Any  # float32 [history], accepted, the newest last; NaN: not yet
  total: Any  # int32, steps that were spikes


@flax.struct.dataclass
class Verdict:
  """What a Report says of one step."""

  spike: Any  # bool
  norm: Any
  threshold: Any
  total: Any  # int32, spikes until now


def begin(history: int) -> Spikes:
  return Spikes(
    norms=jnp.full((history,), jnp.nan, jnp.float32),
    total=jnp.zeros((), jnp.int32),
  )


def threshold(norms, *, deviations: float):
  """The largest norm that is no spike; infinity while there is none.

  Args:
    norms: [history], NaN where there is none yet.
    deviations: robust standard deviations above the median.
  """
  median = jnp.nanmedian(norms)
  spread = _NORMAL * jnp.nanmedian(jnp.abs(norms - median))
  enough = 2 * jnp.isfinite(norms).sum() >= len(norms)
  return jnp.where(enough, median + deviations * spread, jnp.inf)


def judge(
  spikes: Spikes, norm, finite, *, deviations: float
) -> tuple[Spikes, Verdict]:
  """Looks at one step.

  Args:
    norm: of its gradient, before clipping.
    finite: bool, neither loss nor gradient is NaN or infinite; a step that is
      not finite is no spike.
  """
  limit = threshold(spikes.norms, deviations=deviations)
  spike = finite & (norm > limit)
  joined = jnp.append(spikes.norms[1:], norm)
  norms = jnp.where(finite & ~spike, joined, spikes.norms)
  total = spikes.total + spike
  return Spikes(norms, total), Verdict(spike, norm, limit, total)
