"""Compiles what a run computes: its first State and its step."""

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from item_jax import tasks
from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.tasks import Task
from item_jax.training import sharding
from item_jax.training import step as step_lib
from item_jax.training.first_params import FirstParams
from item_jax.training.kept_programs import KeptPrograms
from item_jax.training.optimizer import (
  run_optimizer,
  run_schedule,
  trained_leaves,
)

INITIAL, STEP = "initial", "step"  # names of a run's programs


class Program(NamedTuple):
  """A run's functions, not yet compiled, and the shapes that they are of."""

  shapes: Any  # the State as jax.ShapeDtypeStruct with shardings
  batch: Any  # the same of a Batch
  initial: Any  # jitted: () -> State
  step: Any  # jitted: (State, Batch) -> (State, Report)

  def lower(self):
    """The step, lowered for the devices of its shardings."""
    return self.step.lower(self.shapes, self.batch)


def compile_run(
  config: Config,
  task: Task,
  mesh: Mesh,
  first: FirstParams,
  *,
  kept: KeptPrograms,
  pool: ThreadPoolExecutor,
  new: bool,
) -> tuple[Any, Callable, Future | None]:
  """Returns (shapes of the State, () -> State, the step that is compiled).

  Args:
    kept: compiled programs of former starts.
    pool: its threads compile.
    new: whether what makes the first State is compiled there too, ahead.
  """
  wanted = {INITIAL: new, STEP: bool(config.steps)}
  kept.begin((name for name, needed in wanted.items() if needed), pool)
  made = make_program(config, task, mesh, taken=first.taken)
  ahead = kept.compile(INITIAL, made.initial.lower, pool) if new else None
  compiled = kept.compile(STEP, made.lower, pool) if config.steps else None
  params_placed = jax.tree.map(lambda s: s.sharding, made.shapes.params)

  def initialise():
    state = ahead.result()() if ahead else made.initial()
    if not config.keeps_start:
      return state
    # Through jit: every process holds all of it and keeps its part.
    place = jax.jit(lambda x: x, out_shardings=params_placed)
    params = place(first.params)
    first.forget()  # frees a copy of all of them on the host
    return state.replace(params=params)

  return made.shapes, initialise, compiled


def make_program(
  config: Config,
  task: Task,
  mesh: Mesh,
  *,
  taken: Collection[str] = (),
) -> Program:
  """Returns what a run compiles; it asks no device, those of the mesh may be
  described only.

  Args:
    taken: as of `run_optimizer`.

  Raises:
    UserError: its steps would move nothing.
  """
  o = config.optim
  params = jax.eval_shape(lambda: tasks.initial_params(task, config.seed))
  rates = {"taken": frozenset(taken), "core": tasks.core_names(task)}
  optimizer = run_optimizer(params, run_schedule(config), o, **rates)
  trained = trained_leaves(params, o, **rates)
  if config.steps and not (trained is None or any(jax.tree.leaves(trained))):
    raise UserError(
      f"optim.start_rate={o.start_rate}: all parameters come from"
      f" {config.start_from}, so steps={config.steps} would train nothing"
    )
  example = tasks.step_batch(config, config.batch_size)
  root = jax.random.key(config.seed)
  view = jax.eval_shape(lambda b: task.objective.corrupt(root, 0, b), example)
  names = step_lib.metric_names(task.objective, view)

  def initial_state():
    params = tasks.initial_params(task, config.seed)
    return step_lib.init_state(
      params, optimizer, names, history=o.spike_history if o.spike else 0
    )

  shapes = jax.eval_shape(initial_state)
  placed = sharding.for_state(mesh, shapes)
  shapes = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    placed,
  )
  over = sharding.over_batch(mesh)
  batch = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=over), example
  )
  train_step = step_lib.make_train_step(
    task.objective,
    optimizer,
    seed=config.seed,
    accumulate=o.accumulate,
    log_every=config.log_every,
    dropout_bits=config.model.dropout_bits,
    spike=o.spike,
    gather=hold(trained, sharding.make_gather(mesh, placed.params)),
  )
  step = jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(placed, sharding.replicated(mesh)),
  )
  initial = jax.jit(initial_state, out_shardings=placed)
  return Program(shapes, batch, initial, step)


def hold(trained: Any, gather: Callable | None) -> Callable | None:
  """Returns `gather`, after which what is not trained has no gradient."""
  if trained is None:
    return gather

  def held(params):
    return jax.tree.map(
      lambda x, moves: x if moves else jax.lax.stop_gradient(x),
      gather(params) if gather else params,
      trained,
    )

  return held
