"""Trains: a Config and a workdir in, checkpoints and a log of metrics out.

One loop for every task. Evaluation is handed in, so that nothing here knows
what is measured.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from item_jax import remote
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import pipeline
from item_jax.data.unreadable import TooManyBadRecordsError
from item_jax.distributed.preemption import (
  EXIT_START_AGAIN,
  Preempted,
  PreemptionHandler,
)
from item_jax.remote import Address
from item_jax.training import run as workdir
from item_jax.training import sharding
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.metric_log import Log
from item_jax.training.mirror import Mirror
from item_jax.training.monitor import TrainMonitor
from item_jax.training.saver import Saver
from item_jax.training.setup import Setup, set_up


class ReadError(RuntimeError):
  """The data could not be read, tried anew; says at which step."""


class NullListener:
  """Is told where a run is, and does nothing about it."""

  def at(self, stage: str, step: int) -> None:
    pass


def train(
  config: Config,
  folder: Path,
  *,
  make_evaluate: Callable | None = None,
  progress=None,
) -> int:
  """Runs to `config.steps`, from the newest good checkpoint if there is one.

  Args:
    folder: the workdir; on an object store it is made here and copied there.
    make_evaluate: Setup -> ((params, stop) -> {name: number}), called every
      `eval_every` steps; checkpoints are ranked by what it returns. It raises
      Preempted where `stop()` says so.
    progress: told by `at(stage, step)` that the run enters a stage: "set up",
      "input", "step", "evaluation" or "checkpoint".

  Returns:
    0 when done, EXIT_START_AGAIN when asked to stop before.

  Raises:
    UserError: the configuration, data or workdir cannot work.
    DivergedError: `max_skipped_steps` steps in a row were skipped.
    SaveError: the last state is not on disk.
    ReadError: the processes that read died twice at one step.
    StoreError: the object store of the workdir; TakenOverError where another
      run was started on it.
  """
  place = remote.locate(folder)
  mirror = Mirror(place) if isinstance(place, Address) else None
  folder = mirror.folder if mirror else place
  progress = progress or NullListener()
  progress.at("set up", 0)
  with PreemptionHandler() as stop, workdir.alone(folder):
    if mirror:
      mirror.begin()
    setup = set_up(config, folder)
    if mirror:
      mirror.claim()
    checkpoints = Checkpoints(
      folder,
      keep=config.checkpoint.keep,
      best=config.checkpoint.best,
      mirror=mirror,
    )
    start = checkpoints.newest_good()
    log = Log(folder, start=start or 0, active=jax.process_index() == 0)
    saver = Saver(
      checkpoints,
      log,
      config.checkpoint,
      log_every=config.log_every,
      saved=start,
    )
    try:
      if start is None:
        state, start = setup.initialise(), 0
        # What a run started from elsewhere began with cannot be made again,
        # and a run of no steps is nothing else.
        if config.start_from or not config.steps:
          saver.save(0, state)
      else:
        state = checkpoints.restore(start, setup.shapes)
        print(f"resumed at step {start}", flush=True)
      run = _Run(setup, log, saver, stop, progress, make_evaluate)
      if run.evaluates_at(start):
        run.catch_up(state, start, checkpoints)
      return run.go(state, start)
    except Preempted:
      return EXIT_START_AGAIN
    finally:
      checkpoints.close()
      log.close()
      if mirror:
        mirror.end()


class _Run:
  """The loop and what it works with."""

  def __init__(self, setup: Setup, log, saver, stop, progress, make_evaluate):
    self._setup = setup
    self._log = log
    self._saver = saver
    self._stop = stop
    self._progress = progress
    self._watch = TrainMonitor(setup, log)
    self._evaluate = make_evaluate(setup) if make_evaluate else None

  def go(self, state, start: int) -> int:
    """Trains from `start` on; the exit code."""
    config = self._setup.config
    batches = _batches(self._setup, start)
    done, stopping, metrics = start, False, None
    while done < config.steps and not stopping:
      self._progress.at("input", done)
      begin = time.perf_counter()
      rows = next(batches)
      batch = sharding.to_devices(self._setup.mesh, config.batch_size, rows)
      waited = time.perf_counter() - begin
      self._stop.begin()
      self._progress.at("step", done)
      state, report = self._setup.step(state, batch)
      done += 1
      self._watch.see(done, report, waited)

      stopping = self._stop.agreed()
      evaluating = self.evaluates_at(done)
      due = self._saver.due(done)
      if not (due or stopping or evaluating or done == config.steps):
        continue
      self._watch.flush()
      metrics = None
      if evaluating:
        try:
          metrics = self._measure(state, done)
          self._report(done, metrics)
        except Preempted:
          stopping = True
      self._progress.at("checkpoint", done)
      self._saver.save(done, state, metrics)
    self._progress.at("checkpoint", done)
    self._saver.finish(done, state, metrics)
    unmeasured = stopping and self.evaluates_at(done) and metrics is None
    if done < config.steps or unmeasured:
      print(f"stopped at step {done}, saved; start again to go on", flush=True)
      return EXIT_START_AGAIN
    return 0

  def evaluates_at(self, step: int) -> bool:
    config = self._setup.config
    if self._evaluate is None or not step:
      return False
    return step == config.steps or step % config.eval_every == 0

  def catch_up(self, state, step: int, checkpoints: Checkpoints) -> None:
    """Does what a stop between a step and its evaluation's end left undone."""
    metrics = checkpoints.metrics(step)
    if metrics is None:
      metrics = self._measure(state, step)
      checkpoints.rank(step, metrics)
    if not self._log.holds(step, "eval"):
      self._report(step, metrics)

  def _measure(self, state, step: int) -> dict[str, float]:
    """Raises Preempted when asked to stop meanwhile."""
    self._progress.at("evaluation", step)
    found = self._evaluate(state.params, self._stop.agreed)
    self._watch.restart()
    return {name: float(value) for name, value in found.items()}

  def _report(self, step: int, metrics: dict[str, float]) -> None:
    if metrics:
      self._log.write(step, "eval", metrics)
      self._watch.say(step, metrics)


def _batches(setup: Setup, start: int) -> Iterator[Batch]:
  """Reads on where it was when a worker process is killed: which rows make a
  batch depends on its step alone."""
  config = setup.config
  step, broken_at = start, None
  while True:
    batches = pipeline.training_batches(
      setup.store,
      config.data.train_split,
      setup.tokenizer,
      image_size=config.model.image_size,
      max_title_tokens=config.model.max_title_tokens,
      batch_size=config.batch_size,
      seed=config.seed,
      start=step,
      stop=config.steps,
      host_rows=sharding.host_rows(setup.mesh, config.batch_size),
      workers=config.data.workers,
      read_threads=config.data.read_threads,
      prefetch=config.data.prefetch,
    )
    try:
      for batch in batches:
        yield batch
        step += 1
      return
    except TooManyBadRecordsError:
      raise
    except RuntimeError as error:
      if broken_at == step:
        raise ReadError(
          f"step {step}: reading failed twice: {error} (a reader that was"
          " killed may have been out of memory: fewer data.workers, or less"
          " data.prefetch)"
        ) from error
      print(f"step {step}: reading starts anew: {error}", flush=True)
      broken_at = step
    finally:
      batches.close()
