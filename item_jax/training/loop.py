"""Trains: the one loop of all tasks, from a Config to checkpoints and metrics.

What is measured on the way is up to `config.evaluators`: the loop knows no
metric.
"""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from item_jax import remote
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.config_check import check_config
from item_jax.data import pipeline
from item_jax.data.order import training_order
from item_jax.data.unreadable import TooManyBadRecordsError
from item_jax.distributed.preemption import Preempted, PreemptionHandler
from item_jax.distributed.progress import NullListener, ProgressListener
from item_jax.errors import NotFiniteError
from item_jax.files import check_out_folder
from item_jax.remote import Address
from item_jax.training import heap, sharding
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.evaluators import Evaluators
from item_jax.training.metric_log import Log
from item_jax.training.mirror import Mirror
from item_jax.training.monitor import TrainMonitor
from item_jax.training.orbax_logs import quiet_saves
from item_jax.training.run import Run, exclusive_run
from item_jax.training.saver import Saver
from item_jax.training.setup import Setup, set_up
from item_jax.training.step import State

logger = logging.getLogger(__name__)


class ReadError(RuntimeError):
  """The data could not be read at one step, twice."""


def train(
  config: Config,
  workdir: str | os.PathLike,
  *,
  progress: ProgressListener | None = None,
  programs: Path | None = None,
) -> Run:
  """Trains to `config.steps`, from the newest good checkpoint if there is one.

  Every `eval_every` steps, at the last one, and before the first of a run that
  starts from something, `config.evaluators` measure the parameters; checkpoints
  are ranked by `checkpoint.best` of what they return.

  Args:
    config: of the run; that of a run which is resumed.
    workdir: the run's folder. For an address on an object store the folder is
      made on this machine and copied there.
    progress: is informed that the run enters a stage: "set up", "input",
      "step", "evaluation" or "checkpoint".
    programs: a folder where compiled programs are kept for later starts; they
      are unpickled and run, so only who may run what they like writes there.

  Returns:
    The finished run: its workdir, last step, metrics and best checkpoint.

  Raises:
    Preempted: a stop was requested; the state is saved, and the same call
      continues the run.
    UserError: the configuration, data or workdir cannot work.
    DivergedError: `max_skipped_steps` steps in a row were skipped.
    SaveError: the last state is not on disk.
    ReadError: the processes that read died twice at one step.
    TooManyBadRecordsError: more than `data.max_bad_fraction` were unreadable.
    StoreError: the object store of the workdir failed; TakenOverError where
      another run was started on it.
  """
  check_config(config)
  place = remote.locate(workdir, "workdir")
  if isinstance(place, Address):
    mirror = Mirror(place)
    folder = mirror.folder
  else:
    mirror, folder = None, place
    check_out_folder(folder)
  progress = progress or NullListener()
  progress.update("set up", 0)
  heap.keep_freed()
  with PreemptionHandler() as preemption, exclusive_run(folder), quiet_saves():
    if mirror:
      mirror.begin()
    setup = set_up(config, folder, progress, programs=programs)
    config = setup.config
    if mirror:
      mirror.acquire()
    kept = config.checkpoint
    checkpoints = Checkpoints(
      folder, keep=kept.keep, best=kept.best, mirror=mirror
    )
    start = checkpoints.newest_good()
    log = Log(folder, start=start or 0, active=jax.process_index() == 0)
    saver = Saver(
      checkpoints, log, kept, log_every=config.log_every, saved=start
    )
    try:
      loop = _Loop(setup, log, saver, preemption, progress)
      state = loop.begin() if start is None else loop.resume(start, checkpoints)
      loop.run(state, start or 0)
      return Run(
        workdir=place,
        config=config,
        step=config.steps,
        metrics=checkpoints.last_metrics(),
        best_step=checkpoints.best_step(),
        device=setup.device,
      )
    finally:
      checkpoints.close()
      log.close()
      if mirror:
        mirror.end()


class _Loop:
  """The loop over steps, and what it works with."""

  def __init__(
    self,
    setup: Setup,
    log: Log,
    saver: Saver,
    preemption: PreemptionHandler,
    progress: ProgressListener,
  ):
    self._setup = setup
    self._log = log
    self._saver = saver
    self._preemption = preemption
    self._progress = progress
    self._monitor = TrainMonitor(setup, log)
    self._evaluators = Evaluators(setup)

  def begin(self) -> State:
    """Makes the first State; measures and saves one that is more than its seed.

    The parameters that a run starts from cannot be made again, and may be the
    best that it will have; a run of no steps has nothing else.
    """
    config = self._setup.config
    state = self._setup.initialise()
    if config.steps and not config.keeps_start:
      return state
    metrics, stopped = None, None
    if self.evaluates_at(0):
      try:
        metrics = self._measure(state, 0)
        self._report(0, metrics)
      except Preempted as stop:
        stopped = stop
    self._saver.save(0, state, metrics)
    if stopped:
      raise stopped
    return state

  def run(self, state: State, start: int) -> None:
    """Trains from step `start` on; raises Preempted where it ends early."""
    config, take_step = self._setup.config, self._setup.step
    batches = _batches(self._setup, start)
    done, stopping, owed, metrics = start, False, False, None
    while done < config.steps and not stopping:
      self._progress.update("input", done)
      begin = time.perf_counter()
      rows = next(batches)
      batch = sharding.to_devices(self._setup.mesh, config.batch_size, rows)
      waited = time.perf_counter() - begin
      self._preemption.begin()
      self._progress.update("step", done)
      assert take_step is not None  # there are steps
      state, report = take_step(state, batch)
      done += 1
      self._monitor.on_step(done, report, waited)

      stopping = self._preemption.should_stop()
      evaluating = self.evaluates_at(done)
      due = owed or self._saver.due(done)
      if not (due or stopping or evaluating or done == config.steps):
        continue
      self._monitor.flush()
      metrics = None
      if evaluating:
        try:
          metrics = self._measure(state, done)
          self._report(done, metrics)
        except Preempted:
          stopping = True
      # A run that diverges must not fill the folder with what it came to;
      # what could be measured is no such state.
      owed = self._monitor.skipping and not (metrics or stopping)
      if owed and done < config.steps:
        continue
      self._progress.update("checkpoint", done)
      self._saver.save(done, state, metrics)
    self._progress.update("checkpoint", done)
    self._saver.finish(done, state, metrics)
    unmeasured = stopping and self.evaluates_at(done) and metrics is None
    if done < config.steps or unmeasured:
      raise Preempted(f"stopped at step {done}, saved; start again to go on")

  def evaluates_at(self, step: int) -> bool:
    """Whether the evaluators measure the parameters after a step."""
    config = self._setup.config
    if not self._evaluators:
      return False
    if not step:
      return config.keeps_start
    return step == config.steps or step % config.eval_every == 0

  def resume(self, step: int, checkpoints: Checkpoints) -> State:
    """Restores a step, and evaluates it where the run stopped before it had."""
    state = checkpoints.restore(step, self._setup.shapes)
    done = ", the last one" if step == self._setup.config.steps else ""
    logger.info(f"resumed at step {step}{done}")
    if not self.evaluates_at(step):
      return state
    metrics = checkpoints.metrics(step)
    if metrics is None:
      metrics = self._measure(state, step)
      checkpoints.rank(step, metrics)
    if not self._log.has(step, "eval"):
      self._report(step, metrics)
    return state

  def _measure(self, state: State, step: int) -> dict[str, float]:
    """Returns what the evaluators measure; they may raise Preempted."""
    self._progress.update("evaluation", step)
    try:
      found = self._evaluators(
        state.params,
        self._preemption.should_stop,
        untrained=not (step or self._setup.config.start_from),
      )
    except NotFiniteError as error:
      # Steps that were skipped in a row say it, and end the run.
      logger.info(f"step {step}: nothing is measured: {error}")
      found = {}
    self._monitor.reset_timer()
    return found

  def _report(self, step: int, metrics: dict[str, float]) -> None:
    if metrics:
      self._log.write(step, "eval", metrics)
      self._monitor.log_eval(step, metrics)


def _batches(setup: Setup, start: int) -> Iterator[Batch]:
  """Yields batches, and reads on where a worker process was killed.

  The rows of a batch depend only on its step.
  """
  config = setup.config
  order = training_order(config, setup.store)
  step, failed_at = start, None
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
      order=order,
      grids=setup.grids.get(config.data.train_split),
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
      if failed_at == step:
        raise ReadError(
          f"step {step}: reading failed twice: {error} (a reader that was"
          " killed may have been out of memory: fewer data.workers, or less"
          " data.prefetch; a script with data.workers calls train() below"
          ' `if __name__ == "__main__":`)'
        ) from error
      logger.info(f"step {step}: reading starts anew: {error}")
      failed_at = step
    finally:
      batches.close()
