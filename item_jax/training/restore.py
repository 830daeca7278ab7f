"""Restores the parameters of a run from its workdir, with its task."""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from item_jax import tasks
from item_jax.data import images
from item_jax.errors import UserError, check_utf8
from item_jax.tasks import Task
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.fetched import copied_run
from item_jax.training.run import RunRecord, read_run


class Restored(NamedTuple):
  """A run at one of its steps.

  params: as they were trained. metrics: what validation measured there; None
  where it did not run.
  """

  run: RunRecord
  task: Task
  params: Any
  step: int
  metrics: dict[str, float] | None


def restore(workdir: str | os.PathLike, *, step: int | None = None) -> Restored:
  """Restores a step of a run.

  Args:
    workdir: where `item-jax train` wrote; may be on an object store.
    step: which checkpoint; by default the best by validation, the newest
      where none was evaluated. 0 is what the run started from.

  Raises:
    UserError: no run, no such checkpoint, or a corrupt one.
  """
  with copied_run(workdir, step=step) as folder:
    return _restore(folder, step)


def _restore(workdir: Path, step: int | None) -> Restored:
  check_utf8(workdir)
  run = read_run(workdir)
  if run.preprocessing != images.PREPROCESSING:
    raise UserError(
      f"{workdir} was trained on images prepared as {run.preprocessing!r},"
      f" this version prepares {images.PREPROCESSING!r}"
    )
  task = tasks.make_task(run.config, run.tokenizer, categories=run.categories)
  initial = functools.partial(tasks.initial_params, task, run.config.seed)
  if step == 0 and not run.config.keeps_start:
    return Restored(run, task, jax.jit(initial)(), 0, None)
  checkpoints = Checkpoints(
    workdir, best=run.config.checkpoint.best, read_only=True
  )
  try:
    steps = checkpoints.steps()
    if not steps:
      raise UserError(f"{workdir} has no checkpoint yet")
    step = checkpoints.default_step() if step is None else step
    if step not in steps:
      raise UserError(f"{workdir} has no checkpoint {step}; it has {steps}")
    params = checkpoints.restore_params(step, jax.eval_shape(initial))
    metrics = checkpoints.metrics(step)
  finally:
    checkpoints.close()
  return Restored(run, task, params, step, metrics)
