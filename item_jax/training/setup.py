"""Prepares a run: opens its data, builds its task and compiles its step.

What cannot work is refused here, before the first step.
"""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from clu import parameter_overview
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from item_jax import tasks
from item_jax.config import Config, on_devices, resolve_mesh
from item_jax.config_check import validate
from item_jax.data import images
from item_jax.data.grids import Grids
from item_jax.data.order import training_order
from item_jax.data.records import Dataset, open_dataset
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.data.unreadable import readable
from item_jax.distributed.progress import ProgressListener
from item_jax.errors import UserError
from item_jax.tasks import Task
from item_jax.training import attention_backend as attention_lib
from item_jax.training import run as workdir
from item_jax.training import sharding
from item_jax.training.compiled import STEP, compile_run
from item_jax.training.evaluators import with_best
from item_jax.training.first_params import FirstParams
from item_jax.training.init_from import check_stem, follow_start
from item_jax.training.kept_programs import KeptPrograms
from item_jax.training.optimizer import run_schedule

logger = logging.getLogger(__name__)

_SAMPLE = 20_000  # titles whose lengths are logged at the start
_MANY_CUT = 0.05  # of titles: what they lose is worth a longer sequence


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
  grids: dict[str, Grids]  # a stem's features by split, where steps read them
  device: str  # the kind of the devices, as jax calls it


def open_data(config: Config) -> tuple[Dataset, Tokenizer]:
  """Opens a data set and its tokenizer.

  Raises:
    UserError: it lacks a split, or was prepared by another version.
  """
  store = open_dataset(config.data.path)
  for option in ("train_split", "val_split"):
    split = getattr(config.data, option)
    if not store.sizes.get(split):
      raise UserError(
        f"{store.path} has no rows in split {split!r}; it has {store.sizes}:"
        f" --config.data.{option} names another"
      )
  if store.catalogue["preprocessing"] != images.PREPROCESSING:
    raise UserError(
      f"{store.path} was prepared with {store.catalogue['preprocessing']!r},"
      f" this version reads {images.PREPROCESSING!r}: prepare it again"
    )
  own = Path(store.path) / "tokenizer.json"
  return store, load_tokenizer(config.data.tokenizer or own)


def set_up(
  config: Config,
  folder: Path | None,
  progress: ProgressListener | None = None,
  programs: Path | None = None,
) -> Setup:
  """Checks, builds and compiles a run, and logs what it is.

  Args:
    folder: the workdir; None to build without one (benchmarks).
    progress, programs: as of `train`.

  Raises:
    UserError: the configuration, the data or the run in the workdir don't fit
      together.
  """
  run = None if folder is None else workdir.find_run(folder)
  config = follow_start(config, run)
  validate(config, devices=jax.device_count())
  store, tokenizer = open_data(config)
  if run is None:
    check_stem(config)
  else:
    workdir.check_same(run, config, store, tokenizer)
  training_order(config, store)  # that it can be made
  mesh = sharding.make_mesh(*resolve_mesh(config.mesh, jax.device_count()))
  categories = (
    run.categories
    if run
    else tasks.find_categories(config, store, config.data.train_split)
  )
  placed = on_devices(config, jax.device_count())
  make_task = functools.partial(
    tasks.make_task, placed, tokenizer, categories=categories
  )
  attention, why = _attention(config, run, make_task().attention_shapes)
  task = make_task(attention=attention)
  config = with_best(config, task, new=run is None)
  first = FirstParams(config, task, store, tokenizer, categories, run, progress)
  begin = time.perf_counter()
  others = categories, attention, sorted(first.taken)
  kept = KeptPrograms(programs, placed, tokenizer, mesh, others)
  # XLA leaves Python's lock to what else a start needs.
  new = folder is not None and run is None
  with ThreadPoolExecutor(2, thread_name_prefix="compile") as pool:
    shapes, initialise, compiled = compile_run(
      config, task, mesh, first, kept=kept, pool=pool, new=new
    )
    if jax.process_index() == 0:
      _describe(config, task, mesh, shapes)
      _describe_titles(config, store, tokenizer)
      if compiled and not kept.has(STEP):
        logger.info("compiling the step")
    chance_levels = _chance_levels(config, store, tokenizer, task, first, run)
    step = compiled.result() if compiled else None
  seconds = time.perf_counter() - begin
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
        taken=first.taken,
        stem=first.stem,
      )
    if step is not None:
      _describe_memory(step)
    logger.info(f"attention: {attention} ({why}); ready in {seconds:.1f} s")
  return Setup(
    *(config, store, tokenizer, task, mesh, run_schedule(config), shapes),
    *(initialise, step, chance_levels, categories, first.grids),
    device=jax.devices()[0].device_kind,
  )


def _chance_levels(config: Config, store, tokenizer, task: Task, first, run):
  if run:
    return run.chance_levels
  levels = task.chance_levels(store, config.data.train_split, tokenizer)
  of_params = task.objective.chance_of_params
  if of_params is not None:
    levels |= of_params(first.start.params, first.sample)
  _tell_empty(config, task, levels)
  return levels


def _tell_empty(config: Config, task: Task, levels: dict) -> None:
  """Names losses whose chance level is 0: nothing is learnt by them."""
  weights = task.objective.weights
  empty = [n for n, x in levels.items() if x < 1e-6 and weights.get(n)]
  if empty and config.steps and jax.process_index() == 0:
    logger.info(
      f"chance level 0 of {', '.join(empty)}: in batches of"
      f" {config.batch_size} of split {config.data.train_split!r} there is"
      " nothing to tell apart"
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


def _describe(config: Config, task: Task, mesh: Mesh, shapes) -> None:
  """Logs the parameters and the work of a step; each one for debugging."""
  logger.debug(
    parameter_overview.get_parameter_overview(
      shapes.params, include_stats=False
    )
  )
  parts = [
    (tasks.count_parameters({name: part}), name)
    for name, part in shapes.params.items()
  ]
  parts = sorted(part for part in parts if part[0])[::-1]
  listed = ", ".join(f"{name} {n:,}" for n, name in parts[:12])
  if len(parts) > 12:
    listed += f" and {len(parts) - 12} smaller ones"
  logger.info(
    f"{sum(n for n, _ in parts):,} parameters on"
    f" {dict(mesh.shape)} {jax.devices()[0].device_kind} devices: {listed}\n"
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
) -> None:
  source = store.source(config.data.train_split)
  sample = readable(source, range(min(len(source), _SAMPLE)))
  titles = [record.title for record in sample]
  counts = tokenizer.counts(titles)
  logger.info(describe_cut(counts, config.model.max_title_tokens))


def describe_cut(counts: Sequence[int], limit: int) -> str:
  """Says how many titles of so many tokens are cut, and what to do of many.

  Args:
    limit: positions of a title, that of [SEP] among them.
  """
  cut = sum(count > limit - 1 for count in counts) / len(counts)
  said = (
    f"titles: {sum(counts) / len(counts):.1f} tokens, {cut:.2%} cut at"
    f" {limit} positions (of {len(counts):,})"
  )
  if cut > _MANY_CUT:
    whole = sorted(counts)[int(0.99 * (len(counts) - 1))] + 1
    said += f"; --config.model.max_title_tokens={whole} cuts 1% of them"
  return said


def _gib(size: int) -> str:
  return f"{size / 2**30:.3f} GiB"
