"""Steps that are not taken: a gradient beyond all before it, or no number."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from item_jax.config import FREE_ON_RESUME, Config, flatten
from item_jax.objectives.base import Objective
from item_jax.training import sharding, spikes
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.step import init_state, make_train_step

HISTORY = 16
WIDTH = 2**14  # as much as fsdp splits
NAN = float("nan")


class Rows(NamedTuple):
  """What the objective below reads; a gradient as large as `size_B`."""

  size_B: jax.Array
  carried_B: jax.Array
  measure_B: jax.Array
  bad_B: jax.Array


def rows(size=1.0, *, batch_stats=0.0, measure=0.0) -> Rows:
  """Eight rows; what is given stands in the last one alone."""
  size_B = np.ones(8, np.float32)
  size_B[-1] = size
  extra = np.zeros((2, 8), np.float32)
  extra[:, -1] = batch_stats, measure
  return Rows(size_B, extra[0], extra[1], np.zeros(8, bool))


OBJECTIVE = Objective(
  lambda root, step, batch: batch,
  lambda batch: dict.fromkeys(("all", "seen"), jnp.float32(8)),
  lambda params, batch, key: (
    {
      "all": (params["w"].sum() * batch.size_B).sum(),
      "seen": batch.measure_B.sum(),
    },
    {"batch_stats": batch.carried_B.mean()},
  ),
  {"all": 1.0, "seen": 0.0},
)
OPTIMIZER = optax.adam(1e-2)


def begin(history=HISTORY):
  params = {"w": jnp.zeros(WIDTH), "batch_stats": jnp.zeros(())}
  names = ("all", "seen", "loss", "gradient_norm")
  return init_state(params, OPTIMIZER, names, history=history)


def make_step(spike=5.0, accumulate=1):
  return make_train_step(
    OBJECTIVE,
    OPTIMIZER,
    seed=0,
    accumulate=accumulate,
    log_every=100,
    spike=spike,
  )


@pytest.fixture(scope="module")
def step():
  return jax.jit(make_step())


def warm(step, steps=HISTORY):
  """A State after ordinary steps, of norms that vary by a tenth."""
  state = begin()
  for number in range(steps):
    state, report = step(state, rows(1 + 0.8 * (number % 3)))
    assert not report.skipped
  return state


def same(before, after, *names):
  for name in names:
    jax.tree.map(
      np.testing.assert_array_equal,
      getattr(before, name),
      getattr(after, name),
    )


@pytest.mark.parametrize(
  ("norms", "deviations", "threshold"),
  [
    # Median 3; distances 2 1 0 1 97, their median 1.
    ([1, 2, 3, 4, 100], 5, 3 + 5 * 1.4826 * 1),
    # Median 2.5; distances 1.5 0.5 0.5 2.5, their median 1.
    ([NAN, NAN, NAN, NAN, 1, 2, 3, 5], 2, 2.5 + 2 * 1.4826 * 1),
    # Fewer than half.
    ([NAN, NAN, NAN, NAN, NAN, 2, 3, 5], 2, np.inf),
    ([NAN] * 4, 2, np.inf),
  ],
)
def test_threshold_by_hand(norms, deviations, threshold):
  found = spikes.threshold(jnp.float32(norms), deviations=deviations)
  assert float(found) == pytest.approx(threshold)


def test_a_spike_is_skipped_and_the_next_step_taken(step):
  before = warm(step)
  after, report = step(before, rows(1_000.0))
  assert report.skipped
  assert report.spike.spike
  assert float(report.spike.norm) > float(report.spike.threshold) > 0
  same(before, after, "params", "opt_state", "sums")
  np.testing.assert_array_equal(before.spikes.norms, after.spikes.norms)
  assert int(after.step) == HISTORY + 1
  assert (int(after.skipped_in_a_row), int(after.skipped_total)) == (1, 0)
  assert int(after.spikes.total) == 1
  again, report = step(after, rows(1_000.0))
  assert (int(again.skipped_in_a_row), int(again.spikes.total)) == (2, 2)
  # The next ordinary one is what it would have been without them.
  taken, report = step(again, rows(1.5))
  assert not report.skipped
  assert int(taken.skipped_in_a_row) == 0
  plain, _ = step(before, rows(1.5))
  same(plain, taken, "params", "opt_state", "sums")
  np.testing.assert_array_equal(plain.spikes.norms, taken.spikes.norms)
  assert float(taken.spikes.norms[-1]) == pytest.approx(
    WIDTH**0.5 * (7 + 1.5) / 8
  )


def test_nothing_is_a_spike_before_half_of_the_history(step):
  half = HISTORY // 2
  _, report = step(warm(step, half - 1), rows(1_000.0))
  assert not report.skipped
  _, report = step(warm(step, half), rows(1_000.0))
  assert report.skipped


def test_what_is_not_finite_joins_no_history(step):
  before = warm(step)
  after, report = step(before, rows(NAN))
  assert report.skipped
  assert not report.spike.spike
  assert (int(after.skipped_total), int(after.spikes.total)) == (1, 0)
  same(before, after, "params", "opt_state", "sums", "spikes")
  _, report = step(after, rows(1_000.0))
  assert report.spike.spike


@pytest.mark.parametrize("mesh", [None, (1, 4)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_nan_is_applied_nowhere(mesh, accumulate):
  step, state = make_step(spike=0.0, accumulate=accumulate), begin(history=0)

  def place(batch):
    return batch

  if mesh:
    mesh = sharding.make_mesh(*mesh)
    placed = sharding.for_state(mesh, jax.eval_shape(lambda: state))
    state = jax.device_put(state, placed)
    assert not state.params["w"].sharding.is_fully_replicated
    step = jax.jit(step, out_shardings=(placed, sharding.replicated(mesh)))

    def place(batch):
      return sharding.to_devices(mesh, 8, batch)
  else:
    step = jax.jit(step)
  before, _ = step(state, place(rows()))
  for planted in (rows(NAN), rows(np.inf), rows(batch_stats=NAN)):
    after, report = step(before, place(planted))
    assert report.skipped
    same(before, after, "params", "opt_state", "sums")
  # What is only looked at does not stop a step, and stays out of the log.
  after, report = step(before, place(rows(measure=NAN)))
  assert not report.skipped
  assert float(after.sums["loss"].count) == 2
  for leaf in jax.tree.leaves(after):
    assert np.isfinite(leaf).all()


@pytest.mark.parametrize("history", [0, HISTORY])
def test_a_saved_history_goes_on_bit_for_bit(step, tmp_path, history):
  if not history:
    step = jax.jit(make_step(spike=0.0))
  state = begin(history)
  for number in range(10):
    state, _ = step(state, rows(1 + number % 3))
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(10, state)
  checkpoints.wait()
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    state,
  )
  restored = checkpoints.restore(10, like)
  checkpoints.close()
  for batch in (rows(2.0), rows(1_000.0), rows(3.0)):
    state, _ = step(state, batch)
    restored, _ = step(restored, batch)
  jax.tree.map(np.testing.assert_array_equal, state, restored)
  if history:
    assert int(state.spikes.total) == 1
    assert np.isnan(state.spikes.norms).sum() == HISTORY - 12


def test_without_it_nothing_of_it_is_carried_or_computed():
  state = begin(history=0)
  off = jax.jit(make_step(spike=0.0)).lower(state, rows()).as_text()
  on = jax.jit(make_step()).lower(begin(), rows()).as_text()
  assert "sort" in on  # of a median
  assert "sort" not in off
  assert len(jax.tree.leaves(begin())) == len(jax.tree.leaves(state)) + 2


def test_a_resumed_run_calls_the_same_a_spike():
  names = {"optim.spike", "optim.spike_history"}
  assert names <= flatten(Config()).keys()
  assert not names & FREE_ON_RESUME
