"""One training step: a State and a Batch in, the next State and a report out.

Names no objective: it is handed one (`objectives.contract.Objective`).
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average

from item_jax.objectives.contract import Objective
from item_jax.objectives.keys import key_for


@flax.struct.dataclass
class State:
  """All that a run carries from step to step, and a checkpoint holds."""

  step: Any  # int32, steps taken, skipped ones included
  params: Any
  moments: Any  # the optimizer's
  bad_run: Any  # int32, non-finite steps in a row until now
  bad_total: Any  # int32
  sums: dict  # {name: Average} since the last log


@flax.struct.dataclass
class Report:
  """What the host may look at after a step; never donated."""

  step: Any
  bad: Any  # bool, this update was skipped
  bad_run: Any
  bad_total: Any
  loss: Any  # weighted sum, of this step alone
  sums: dict


def init_state(params, optimizer, names) -> State:
  zero = jnp.zeros((), jnp.int32)
  none = jnp.zeros((), jnp.float32)
  return State(
    step=zero,
    params=params,
    moments=optimizer.init(params),
    bad_run=zero,
    bad_total=zero,
    sums={name: Average(total=none, count=none) for name in sorted(names)},
  )


def metric_names(objective: Objective, view_shapes) -> list[str]:
  """Names of all that a step measures."""
  counts = jax.eval_shape(objective.counts, view_shapes)
  return [*counts, "loss", "gradient_norm"]


def make_train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  seed: int,
  accumulate: int,
  log_every: int,
  dropout_bits: str = "threefry2x32",
):
  """A pure function (state, batch) -> (state, report), to be jitted.

  Denominators are counted over the whole global batch before the first
  microbatch runs, so that accumulation and sharding don't change the loss.
  A non-finite loss or gradient leaves parameters and moments as they were.
  """
  root = jax.random.key(seed)
  dropout_root = jax.random.key(seed, impl=dropout_bits)

  def gradients(params, view, counts, key):
    """(gradients, ({name: total}, carried)) of one microbatch."""

    def loss_fn(params):
      totals, carried = objective.totals(params, view, key)
      loss = sum(
        weight * totals[name] / jnp.maximum(counts[name], 1.0)
        for name, weight in objective.weights.items()
        if weight
      )
      return loss, (totals, carried)

    return jax.grad(loss_fn, has_aux=True)(params)

  def train_step(state: State, batch):
    view = objective.corrupt(root, state.step, batch)
    counts = objective.counts(view)
    key = key_for(dropout_root, state.step, "dropout")
    if accumulate == 1:
      grads, (totals, carried) = gradients(state.params, view, counts, key)
    else:

      def add(carry, part):
        index, micro = part
        new = gradients(
          state.params, micro, counts, jax.random.fold_in(key, index)
        )
        return jax.tree.map(jnp.add, carry, new), None

      parts = jax.tree.map(lambda x: _split(x, accumulate), view)
      first = jax.tree.map(lambda x: x[0], parts)
      shapes = jax.eval_shape(gradients, state.params, first, counts, key)
      zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
      (grads, (totals, carried)), _ = jax.lax.scan(
        add, zeros, (jnp.arange(accumulate), parts)
      )
      carried = jax.tree.map(lambda x: x / accumulate, carried)

    loss = sum(
      weight * totals[name] / jnp.maximum(counts[name], 1.0)
      for name, weight in objective.weights.items()
      if weight
    )
    norm = optax.tree.norm(grads)
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, moments = optimizer.update(grads, state.moments, state.params)
    params = {**optax.apply_updates(state.params, updates), **carried}
    params, moments = jax.tree.map(
      lambda new, old: jnp.where(good, new, old),
      (params, moments),
      (state.params, state.moments),
    )
    one = jnp.ones((), jnp.float32)
    fresh = {n: Average(total=totals[n], count=counts[n]) for n in counts}
    fresh["loss"] = Average(total=loss, count=one)
    fresh["gradient_norm"] = Average(total=norm, count=one)
    # What is not finite is counted and named, not averaged.
    start = state.step % log_every == 0
    sums = {
      name: jax.tree.map(
        lambda old, new: jnp.where(start, 0.0, old) + jnp.where(good, new, 0.0),
        state.sums[name],
        fresh[name],
      )
      for name in state.sums
    }
    state = State(
      step=state.step + 1,
      params=params,
      moments=moments,
      bad_run=jnp.where(good, 0, state.bad_run + 1),
      bad_total=state.bad_total + ~good,
      sums=sums,
    )
    report = Report(
      step=state.step,
      bad=~good,
      bad_run=state.bad_run,
      bad_total=state.bad_total,
      loss=loss,
      sums=sums,
    )
    return state, report

  return train_step


def _split(x, parts: int):
  """[B,...] to [parts, B/parts, ...]: every parts-th row into one part.

  Strided, so that each device keeps the rows it has.
  """
  return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
