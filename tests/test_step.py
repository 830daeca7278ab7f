"""Laws of the training step: devices, microbatches, bad steps, size."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from item_jax.objectives.base import Objective
from item_jax.training import compiled as compiled_lib
from item_jax.training import sharding
from item_jax.training.optimizer import decays, make_schedule
from item_jax.training.step import init_state, make_train_step, metric_names

ROWS = 16


@pytest.fixture(scope="module")
def parts():
  # Without dropout, whose bits differ by microbatch; with plain descent, as
  # Adam makes full-size steps of gradients that are nothing but rounding.
  model = tiny.make_model(layers=1)
  objective = tiny.make_objective(model)
  optimizer = optax.sgd(1e-2, momentum=0.9)
  return model, objective, optimizer, tiny.init(model)


def begin(parts):
  _, objective, optimizer, params = parts
  view = objective.corrupt(jax.random.key(0), 0, tiny.make_batch(ROWS))
  # Copied, for the step may be given its buffers to reuse.
  params = jax.tree.map(jnp.array, params)
  return init_state(params, optimizer, metric_names(objective, view))


def run(parts, *, mesh=None, accumulate=1, steps=2):
  _, objective, optimizer, _ = parts
  step = make_train_step(
    objective, optimizer, seed=7, accumulate=accumulate, log_every=10
  )
  state = begin(parts)
  if mesh is None:
    step = jax.jit(step)
  else:
    placed = sharding.for_state(mesh, jax.eval_shape(lambda: state))
    state = jax.device_put(state, placed)
    step = jax.jit(step, out_shardings=(placed, sharding.replicated(mesh)))
  losses = []
  for number in range(steps):
    batch = tiny.make_batch(ROWS, seed=number)
    if mesh is not None:
      batch = sharding.to_devices(mesh, ROWS, batch)
    state, report = step(state, batch)
    losses.append(float(report.loss))
  return losses, jax.device_get(state)


@pytest.fixture(scope="module")
def alone(parts):
  return run(parts)


def close(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("data", "fsdp"), [(4, 1), (1, 4), (2, 2)])
def test_four_devices_compute_what_one_does(parts, alone, data, fsdp):
  losses, state = run(parts, mesh=sharding.make_mesh(data, fsdp))
  np.testing.assert_allclose(losses, alone[0], rtol=1e-5)
  close(state.params, alone[1].params)


@pytest.mark.parametrize("accumulate", [2, 8])
def test_microbatches_compute_what_one_batch_does(parts, alone, accumulate):
  losses, state = run(parts, accumulate=accumulate)
  np.testing.assert_allclose(losses, alone[0], rtol=1e-5)
  close(state.params, alone[1].params)
  close(state.sums, alone[1].sums)


def test_fsdp_splits_what_is_large():
  mesh = sharding.make_mesh(1, 4)
  shapes = {
    "kernel": jax.ShapeDtypeStruct((256, 1024), jnp.float32),
    "bias": jax.ShapeDtypeStruct((1024,), jnp.float32),
    "odd": jax.ShapeDtypeStruct((333, 335), jnp.float32),
  }
  placed = sharding.for_state(mesh, shapes)
  assert placed["kernel"].shard_shape((256, 1024)) == (256, 256)
  assert placed["bias"].is_fully_replicated
  assert placed["odd"].is_fully_replicated


def test_what_stays_has_no_gradient_and_costs_none(parts):
  """Plain descent: a first step is its gradient."""
  _, objective, optimizer, params = parts
  moves = {name: name != "encoder" for name in params}
  trained = {n: jax.tree.map(lambda _, n=n: moves[n], params[n]) for n in moves}
  before, batch = begin(parts), tiny.make_batch(ROWS)
  after, norms, flops = [], [], []
  for leaves in (None, trained):
    gather = compiled_lib.hold(leaves, None)
    step = jax.jit(
      make_train_step(
        *(objective, optimizer),
        **{"seed": 7, "accumulate": 1, "log_every": 10, "gather": gather},
      )
    )
    compiled = step.lower(before, batch).compile()
    flops.append(compiled.cost_analysis()["flops"])
    state, report = compiled(before, batch)
    after.append(state.params)
    norms.append(float(report.sums["gradient_norm"].total))
  jax.tree.map(
    np.testing.assert_array_equal, after[1]["encoder"], params["encoder"]
  )
  others = [{n: x[n] for n in moves if moves[n]} for x in (*after, params)]
  close(others[0], others[1])
  moved = jax.tree.map(lambda a, b: (a - b) / 1e-2, others[1], others[2])
  assert norms[1] == pytest.approx(float(optax.tree.norm(moved)), rel=1e-3)
  assert norms[1] < 0.99 * norms[0]
  assert flops[1] < 0.9 * flops[0]


def test_a_bad_step_leaves_everything_but_the_counters(parts):
  _, objective, optimizer, _ = parts

  def totals(params, view, key):
    out, batch_stats = objective.totals(params, view, key)
    poison = jnp.where(view.batch.product_B.sum() > 1_000, jnp.nan, 1.0)
    return out | {"mim": out["mim"] * poison}, batch_stats

  poisoned = Objective(
    objective.corrupt, objective.counts, totals, objective.weights
  )
  step = jax.jit(
    make_train_step(poisoned, optimizer, seed=7, accumulate=1, log_every=10)
  )
  good = tiny.make_batch(ROWS)
  bad = good._replace(product_B=good.product_B + 1_000)
  before, _ = step(begin(parts), good)
  after, report = step(before, bad)
  assert bool(report.skipped)
  for name in ("params", "opt_state"):
    for x, y in zip(
      jax.tree.leaves(getattr(before, name)),
      jax.tree.leaves(getattr(after, name)),
      strict=True,
    ):
      np.testing.assert_array_equal(x, y)
  assert (int(after.skipped_in_a_row), int(after.skipped_total)) == (1, 1)
  assert int(after.step) == 2
  for name, mean in after.sums.items():
    assert np.isfinite(float(mean.total)), name
  again, _ = step(after, bad)
  assert (int(again.skipped_in_a_row), int(again.skipped_total)) == (2, 2)
  well, report = step(again, good)
  assert not bool(report.skipped)
  assert (int(well.skipped_in_a_row), int(well.skipped_total)) == (0, 2)
  assert float(well.sums["loss"].count) == 2  # two good steps of four


def test_measures_are_summed_since_the_last_log(parts):
  _, objective, optimizer, _ = parts
  step = jax.jit(
    make_train_step(objective, optimizer, seed=7, accumulate=1, log_every=3)
  )
  state = begin(parts)
  losses, counts = [], []
  for number in range(4):
    state, report = step(state, tiny.make_batch(ROWS, seed=number))
    losses.append(float(report.loss))
    counts.append(float(report.sums["loss"].count))
  assert counts == [1, 2, 3, 1]
  assert float(report.sums["loss"].compute()) == pytest.approx(losses[3])


def test_no_array_of_all_positions_times_all_tokens():
  """Masked places are gathered before the vocabulary: no [B,S,V], no [B,T,V].

  In the compiled program every array with an axis of V words is at most a
  logit for each masked place, or the word table.
  """
  words = 1_031  # prime, so that V cannot be mistaken for another axis
  model = tiny.make_model(vocab_size=words, layers=1)
  objective = tiny.make_objective(
    model, tiny.Vocabulary(words), title_rate=0.15, patch_rate=0.3
  )
  optimizer = optax.adam(1e-3)
  batch = tiny.make_batch(ROWS)
  view = objective.corrupt(jax.random.key(0), 0, batch)
  state = init_state(tiny.init(model), optimizer, metric_names(objective, view))
  step = jax.jit(
    make_train_step(objective, optimizer, seed=0, accumulate=1, log_every=10)
  )
  text = step.lower(state, batch).compile().as_text()
  sizes = set()
  for dims in re.findall(r"\b(?:f32|bf16|s32|pred)\[([\d,]+)\]", text):
    axes = [int(d) for d in dims.split(",")]
    if words in axes:
      sizes.add(int(np.prod(axes)))
  slots = 1  # round(7 * 0.15)
  assert ROWS * slots * words in sizes
  assert max(sizes) <= max(ROWS * slots, tiny.WIDTH) * words
  assert max(sizes) < ROWS * tiny.PLACES * words


@pytest.mark.parametrize("bits", ["hash", "threefry2x32", "rbg"])
def test_dropout_is_a_function_of_seed_and_step(parts, bits):
  model = tiny.make_model(layers=1, dropout=0.3, dropout_bits=bits)
  objective = tiny.make_objective(model)
  optimizer = optax.sgd(1e-2)
  batch = tiny.make_batch(ROWS)
  view = objective.corrupt(jax.random.key(0), 0, batch)
  names = metric_names(objective, view)

  def losses(seed, *steps):
    run = jax.jit(
      make_train_step(
        objective,
        optimizer,
        seed=seed,
        accumulate=1,
        log_every=10,
        dropout_bits=bits,
      )
    )
    state = init_state(tiny.init(model), optimizer, names)
    return [
      float(run(state.replace(step=jnp.int32(step)), batch)[1].loss)
      for step in steps
    ]

  first = losses(1, 4, 5, 4)
  assert np.isfinite(first).all()
  assert first[0] == first[2] != first[1]
  assert losses(2, 4)[0] != first[0]


def test_schedule():
  schedule = make_schedule(peak=2.0, warmup=10, steps=110)
  values = [float(schedule(step)) for step in (0, 5, 10, 60, 110)]
  assert values == pytest.approx([0, 1, 2, 1, 0])


def test_only_kernels_decay(parts):
  flat = jax.tree_util.tree_leaves_with_path(decays(parts[3]))
  rule = {"/".join(key.key for key in path): decay for path, decay in flat}
  assert rule["encoder/layer_0/attention/qkv/kernel"]
  assert rule["global_word_head/of_place/kernel"]
  for name, decay in rule.items():
    assert decay == name.endswith("kernel"), name


class Rows(NamedTuple):
  """A batch of numbers, for objectives that can be worked by hand."""

  x_B: jax.Array
  bad_B: jax.Array


def test_what_is_carried_is_the_mean_over_microbatches():
  def totals(params, x_B, key):
    return {"loss": (params["w"] * x_B).sum()}, {"seen": jnp.square(x_B).mean()}

  objective = Objective(
    lambda root, step, batch: batch.x_B,
    lambda x_B: {"loss": jnp.float32(len(x_B))},
    totals,
    {"loss": 1.0},
  )
  optimizer = optax.sgd(1.0)
  params = {"w": jnp.float32(0.5), "seen": jnp.float32(-1.0)}
  x_B = jnp.array([1.0, 2.0, 3.0, 4.0])
  step = make_train_step(
    objective, optimizer, seed=0, accumulate=2, log_every=1
  )
  state = init_state(params, optimizer, metric_names(objective, x_B))
  state, _ = jax.jit(step)(state, Rows(x_B, x_B < 0))
  assert float(state.params["seen"]) == (1 + 4 + 9 + 16) / 4
  assert float(state.params["w"]) == 0.5 - 2.5
