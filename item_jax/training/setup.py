"""Prepares a run: opens its data, builds its task and compiles its step.

What cannot work is refused here, before the first step.
"""

import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from clu import parameter_overview
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from item_jax import tasks
from item_jax.config import Config, resolve_mesh
from item_jax.config_check import validate
from item_jax.data import images
from item_jax.data.order import training_order
from item_jax.data.records import Dataset, open_dataset
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.data.unreadable import readable
from item_jax.errors import UserError
from item_jax.tasks import Task
from item_jax.training import attention_backend as attention_lib
from item_jax.training import run as workdir
from item_jax.training import sharding
from item_jax.training import step as step_lib
from item_jax.training.evaluators import check_evaluators
from item_jax.training.init_from import follow_start, starting_params
from item_jax.training.optimizer import make_schedule, run_optimizer

logger = logging.getLogger(__name__)

_SAMPLE = 20_000  # titles whose lengths are logged at the start


class Setup(NamedTuple):
  """What a run has before its first step."""

  config: Config  # with the options of what it starts from
  store: Dataset
  tokenizer: Tokenizer
  task: Task
  mesh: Mesh
  schedule: Callable
  shapes: Any  # the State as jax.ShapeDtypeStruct with shardings
  initialise: Callable  # () -> State on the devices
  # Compiled (state, batch) -> (state, report); None for a run of no steps.
  step: Callable | None
  chance_levels: dict[str, float]  # of losses
  categories: tuple[str, ...]  # that the task predicts
  device: str  # the kind of the devices, as jax calls it


def open_data(config: Config) -> tuple[Dataset, Tokenizer]:
  """Opens a data set and its tokenizer.

  Raises:
    UserError: it lacks a split, or was prepared by another version.
  """
  store = open_dataset(config.data.path)
  for split in (config.data.train_split, config.data.val_split):
    if not store.sizes.get(split):
      raise UserError(
        f"{store.path} has no rows in split {split!r}; it has {store.sizes}"
      )
  if store.catalogue["preprocessing"] != images.PREPROCESSING:
    raise UserError(
      f"{store.path} was prepared with {store.catalogue['preprocessing']!r},"
      f" this version reads {images.PREPROCESSING!r}: prepare it again"
    )
  own = Path(store.path) / "tokenizer.json"
  return store, load_tokenizer(config.data.tokenizer or own)


def set_up(config: Config, folder: Path | None) -> Setup:
  """Checks, builds and compiles a run, and logs what it is.

  Args:
    folder: the workdir; None to build without one (benchmarks).

  Raises:
    UserError: the configuration, the data or the run in the workdir don't fit
      together.
  """
  run = None if folder is None else workdir.find_run(folder)
  config = follow_start(config, run)
  validate(config, devices=jax.device_count())
  store, tokenizer = open_data(config)
  if run is not None:
    workdir.check_same(run, config, store, tokenizer)
  training_order(config, store)  # that it can be made
  mesh = sharding.make_mesh(*resolve_mesh(config.mesh, jax.device_count()))
  categories = (
    run.categories
    if run
    else tasks.find_categories(config, store, config.data.train_split)
  )
  task = tasks.make_task(config, tokenizer, categories=categories)
  attention, why = _attention(config, run, task.attention_shapes)
  task = tasks.make_task(
    config, tokenizer, categories=categories, attention=attention
  )
  check_evaluators(config, task)
  schedule = make_schedule(
    peak=config.optim.lr, warmup=config.optim.warmup, steps=config.steps
  )

  @functools.cache
  def start():
    initial = jax.jit(lambda: tasks.initial_params(task, config.seed))()
    return starting_params(config, task, tokenizer, categories, initial)

  taken = run.taken if run else ()
  if config.start_from and run is None:
    # What is refused is refused before minutes of compiling.
    taken = start().taken
  begin = time.perf_counter()
  # XLA leaves Python's lock to what else a start needs.
  with ThreadPoolExecutor(2, thread_name_prefix="compile") as pool:
    new = folder is not None and run is None
    shapes, initialise, compiled = _compile(
      config, task, mesh, schedule, taken, start, pool=pool, new=new
    )
    if jax.process_index() == 0:
      _describe(config, task, mesh, shapes)
      logger.info(_describe_titles(config, store, tokenizer))
      if compiled:
        logger.info("compiling the step")
    chance_levels = (
      run.chance_levels
      if run
      else task.chance_levels(store, config.data.train_split, tokenizer)
    )
    step = compiled.result() if compiled else None
  seconds = time.perf_counter() - begin
  if jax.process_count() > 1:
    # No process may still be looking for a run when process 0 writes it.
    multihost_utils.sync_global_devices("set up")
  if jax.process_index() == 0:
    if folder is not None and run is None:
      folder.mkdir(parents=True, exist_ok=True)
      workdir.write_run(
        folder,
        config,
        store,
        tokenizer,
        attention=attention,
        chance_levels=chance_levels,
        categories=categories,
        taken=taken,
      )
    if step is not None:
      _describe_memory(step)
    logger.info(f"attention: {attention} ({why}); ready in {seconds:.1f} s")
  return Setup(
    *(config, store, tokenizer, task, mesh, schedule, shapes),
    *(initialise, step, chance_levels, categories),
    device=jax.devices()[0].device_kind,
  )


def _attention(config: Config, run, shapes) -> tuple[str, str]:
  """Returns the attention kernel and why; a resumed run keeps its own."""
  if run is not None:
    return attention_lib.resume_with(run.attention)
  return attention_lib.choose(
    config.model.attention,
    shapes=shapes,
    dtype=config.model.dtype,
  )


def _compile(
  config: Config,
  task: Task,
  mesh: Mesh,
  schedule,
  taken,
  start,
  *,
  pool: ThreadPoolExecutor,
  new: bool,
) -> tuple[Any, Callable, Future | None]:
  """Returns (shapes of the State, () -> State, the step that is compiled).

  Args:
    pool: its threads compile.
    new: whether what makes the first State is compiled there too, ahead.
  """
  o = config.optim
  optimizer = run_optimizer(
    jax.eval_shape(lambda: tasks.initial_params(task, config.seed)),
    schedule,
    o,
    taken=frozenset(taken),
    core=tasks.core_names(task),
  )
  example = tasks.example_batch(config, config.batch_size)
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
  initial = jax.jit(initial_state, out_shardings=placed)
  ahead = pool.submit(initial.lower().compile) if new else None
  over = sharding.over_batch(mesh)
  batch_shapes = jax.tree.map(
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
    gather=sharding.make_gather(mesh, placed.params),
  )
  step = jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(placed, sharding.replicated(mesh)),
  )
  compiled = None
  if config.steps:
    compiled = pool.submit(step.lower(shapes, batch_shapes).compile)

  def initialise():
    state = ahead.result()() if ahead else initial()
    if not config.start_from:
      return state
    # Through jit: every process holds all of it and keeps its part.
    place = jax.jit(lambda x: x, out_shardings=placed.params)
    params = place(start().params)
    start.cache_clear()  # frees a copy of all of them on the host
    return state.replace(params=params)

  return shapes, initialise, compiled


def _describe(config: Config, task: Task, mesh: Mesh, shapes) -> None:
  """Logs the parameters and the work of a step."""
  logger.info(
    parameter_overview.get_parameter_overview(
      shapes.params, include_stats=False
    )
  )
  logger.info(
    f"{tasks.count_parameters(shapes.params):,} parameters on"
    f" {dict(mesh.shape)} {jax.devices()[0].device_kind} devices\n"
    f"a pair: {task.sequence}, {task.train_flops / 1e9:.3f} GFLOPs; a step:"
    f" {config.batch_size:,} pairs"
  )


def _describe_memory(step) -> None:
  memory = step.memory_analysis()
  logger.info(
    f"memory a device: {_gib(memory.argument_size_in_bytes)} state and batch,"
    f" {_gib(memory.temp_size_in_bytes)} temporary"
  )


def _describe_titles(
  config: Config, store: Dataset, tokenizer: Tokenizer
) -> str:
  source = store.source(config.data.train_split)
  sample = readable(source, range(min(len(source), _SAMPLE)))
  titles = [record.title for record in sample]
  counts = tokenizer.counts(titles)
  limit = config.model.max_title_tokens
  cut = sum(count > limit - 1 for count in counts) / len(counts)
  return (
    f"titles: {sum(counts) / len(counts):.1f} tokens, {cut:.2%} cut at"
    f" {limit} positions (of {len(counts):,})"
  )


def _gib(size: int) -> str:
  return f"{size / 2**30:.3f} GiB"
