"""Makes one training step: (State, Batch) -> (State, Report).

The step knows no objective by name (see `objectives.base.Objective`).
"""

from collections.abc import Callable
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average

from item_jax.models.dropout import HASH, make_root
from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for
from item_jax.training import spikes as spikes_lib


@flax.struct.dataclass
class State:
  """All that a run carries from step to step, and a checkpoint holds.

  `orbax_read.SAVED_NAMES` are the names of its fields on disk.
  """

  step: Any  # int32, steps taken, skipped ones included
  params: Any
  opt_state: Any
  skipped_in_a_row: Any  # int32, until now
  skipped_total: Any  # int32, steps skipped because they were not finite
  unreadable_total: Any  # int32, records that could not be read until now
  sums: dict  # {name: Average} since the last log
  spikes: Any = None  # spikes.Spikes where spikes are detected


@flax.struct.dataclass
class Report:
  """What the host may read after a step; never donated."""

  step: Any
  skipped: Any  # bool, whether this update was
  skipped_in_a_row: Any
  skipped_total: Any
  unreadable_total: Any
  unreadable_B: Any  # bool, over the global batch, on every process
  loss: Any  # weighted sum, of this step
  sums: dict
  spike: Any = None  # spikes.Detection where spikes are detected


def init_state(params, optimizer, names, *, history: int = 0) -> State:
  """The State before the first step.

  Args:
    history: gradient norms that spikes are detected by; 0: none is.
  """
  zero = jnp.zeros((), jnp.int32)
  none = jnp.zeros((), jnp.float32)
  return State(
    step=zero,
    params=params,
    opt_state=optimizer.init(params),
    skipped_in_a_row=zero,
    skipped_total=zero,
    unreadable_total=zero,
    sums={name: _average(none, none) for name in sorted(names)},
    spikes=spikes_lib.init(history) if history else None,
  )


def metric_names(objective: Objective, view_shapes) -> list[str]:
  """The names of all that a step measures."""
  counts = jax.eval_shape(objective.counts, view_shapes)
  return [*counts, "loss", "gradient_norm"]


def make_train_step(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  seed: int,
  accumulate: int,
  log_every: int,
  dropout_bits: str = HASH,
  spike: float = 0.0,
  gather: Callable | None = None,
) -> Callable:
  """Returns a pure function (state, batch) -> (state, report), to be jitted.

  Denominators are counted over the whole global batch before the first
  microbatch runs, so that accumulation and sharding don't change the loss,
  except for dropout: each microbatch draws bits of its own.
  A step whose loss, gradient or `batch_stats` is not finite leaves parameters
  and optimizer state as they were, and so does a spike.

  Args:
    seed: of masks and dropout, with the step's number.
    accumulate: microbatches in a batch; log_every: steps that `sums` add up.
    dropout_bits: the generator of dropout's bits, of `models.dropout`.
    spike: robust deviations from which on a gradient norm is a spike (see
      `spikes`); 0: none is, and nothing is computed for it.
    gather: gives the parameters as losses read them: whole where the state
      holds parts, as `sharding.make_gather` does; None: as the state has them.
  """
  root = jax.random.key(seed)
  dropout_root = make_root(seed, dropout_bits)

  def train_step(state: State, batch):
    view = objective.corrupt(root, state.step, batch)
    counts = objective.counts(view)
    grads, (totals, batch_stats) = _gradients(
      objective,
      state.params,
      view,
      counts,
      key_for(dropout_root, state.step, "dropout"),
      parts=accumulate,
      gather=gather,
    )
    loss = _weighted(objective, totals, counts)
    norm = optax.tree.norm(grads)
    good = finite = _all_finite((loss, norm, batch_stats))
    spikes, detection = None, None
    if spike:
      spikes, detection = spikes_lib.detect(
        state.spikes, norm, finite, deviations=spike
      )
      good = finite & ~detection.spike
    params, opt_state = _update(optimizer, state, grads, batch_stats, good)
    fresh = _averages(totals, counts, loss=loss, gradient_norm=norm)
    sums = _add_up(state.sums, fresh, good, state.step % log_every == 0)
    state = State(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      skipped_in_a_row=jnp.where(good, 0, state.skipped_in_a_row + 1),
      skipped_total=state.skipped_total + ~finite,
      unreadable_total=state.unreadable_total
      + batch.bad_B.sum(dtype=jnp.int32),
      sums=sums,
      spikes=spikes,
    )
    report = Report(
      step=state.step,
      skipped=~good,
      skipped_in_a_row=state.skipped_in_a_row,
      skipped_total=state.skipped_total,
      unreadable_total=state.unreadable_total,
      unreadable_B=batch.bad_B,
      loss=loss,
      sums=sums,
      spike=detection,
    )
    return state, report

  return train_step


def _update(optimizer, state: State, grads, batch_stats, good):
  """Returns the next (params, opt_state): as they were where not `good`."""
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = cast(dict, optax.apply_updates(state.params, updates))
  params = {**params, **batch_stats}
  return jax.tree.map(
    lambda new, old: jnp.where(good, new, old),
    (params, opt_state),
    (state.params, state.opt_state),
  )


def _gradients(objective, params, view, counts, key, *, parts: int, gather):
  """Returns (gradients, ({name: total}, batch_stats)) of all microbatches."""

  def of(params, view, key):
    def loss_fn(params):
      params = gather(params) if gather else params
      totals, batch_stats = objective.totals(params, view, key)
      return _weighted(objective, totals, counts), (totals, batch_stats)

    return jax.grad(loss_fn, has_aux=True)(params)

  if parts == 1:
    return of(params, view, key)

  def add(carry, part):
    index, micro = part
    new = of(params, micro, jax.random.fold_in(key, index))
    return jax.tree.map(jnp.add, carry, new), None

  micros = jax.tree.map(lambda x: _split(x, parts), view)
  first = jax.tree.map(lambda x: x[0], micros)
  shapes = jax.eval_shape(of, params, first, key)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  (grads, (totals, batch_stats)), _ = jax.lax.scan(
    add, zeros, (jnp.arange(parts), micros)
  )
  return grads, (totals, jax.tree.map(lambda x: x / parts, batch_stats))


def _weighted(objective, totals, counts):
  """Returns the loss: the weighted sum of means."""
  return sum(
    weight * totals[name] / jnp.maximum(counts[name], 1.0)
    for name, weight in objective.weights.items()
    if weight
  )


def _averages(totals, counts, **numbers):
  """Returns {name: Average} of what counts, and of numbers that count once."""
  one = jnp.ones((), jnp.float32)
  return {n: _average(totals[n], counts[n]) for n in counts} | {
    name: _average(number, one) for name, number in numbers.items()
  }


def _all_finite(tree):
  return jnp.stack(
    [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
  ).all()


def _average(total, count) -> Average:
  # clu's classes hide from checkers of types that they are dataclasses.
  return Average(total=total, count=count)  # pyright: ignore[reportCallIssue]


def _add_up(sums, fresh, good, start):
  """Adds a step to the sums since the last log; leaves out what is not finite.

  Args:
    start: whether the last log was before this step.
  """

  def add(old, new):
    keep = good & jnp.isfinite(new.total) & jnp.isfinite(new.count)
    return jax.tree.map(
      lambda old, new: jnp.where(start, 0.0, old) + jnp.where(keep, new, 0.0),
      old,
      new,
    )

  return {name: add(sums[name], fresh[name]) for name in sums}


def _split(x, parts: int):
  """[B, ...] -> [parts, B/parts, ...]: every parts-th row goes to one part.

  Strided, so that each device keeps the rows it has.
  """
  return x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
