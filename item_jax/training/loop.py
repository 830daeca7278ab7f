"""Trains: a Config and a workdir in, checkpoints and a log of metrics out.

One loop for every task. Evaluation is handed in, so that nothing here knows
what is measured.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax.config import Config
from item_jax.data import pipeline
from item_jax.training import sharding
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.metrics import Log
from item_jax.training.setup import set_up
from item_jax.training.stopping import EXIT_START_AGAIN, StopRequest
from item_jax.training.watch import Watch


def train(
  config: Config, folder: Path, *, make_evaluate: Callable | None = None
) -> int:
  """Runs to `config.steps`, from the newest good checkpoint if there is one.

  Args:
    make_evaluate: Setup -> (params -> {name: number}), called every
      `eval_every` steps; checkpoints are ranked by what it returns.

  Returns:
    0 when done, EXIT_START_AGAIN when asked to stop before.

  Raises:
    UserError: the configuration, data or workdir cannot work.
    DivergedError: `max_bad_steps` non-finite steps in a row.
    SaveError: the last state is not on disk.
  """
  folder = Path(folder)
  setup = set_up(config, folder)
  checkpoints = Checkpoints(
    folder, keep=config.checkpoint.keep, best=config.checkpoint.best
  )
  start = checkpoints.newest_good()
  if start is None:
    state, start = setup.initialise(), 0
    # What a run started from elsewhere began with cannot be made again, and
    # a run of no steps is nothing else.
    if config.start_from or not config.steps:
      checkpoints.save(0, state)
  else:
    state = checkpoints.restore(start, setup.shapes)
    print(f"resumed at step {start}", flush=True)
  log = Log(folder, start=start, active=jax.process_index() == 0)
  evaluate = make_evaluate(setup) if make_evaluate else None
  try:
    with StopRequest() as stop:
      return _run(setup, state, start, checkpoints, log, evaluate, stop)
  finally:
    log.close()
    checkpoints.close()


def _run(setup, state, start, checkpoints, log, evaluate, stop) -> int:
  config = setup.config
  size = config.batch_size
  batches = pipeline.training_batches(
    setup.store,
    config.data.train_split,
    setup.words,
    image_size=config.model.image_size,
    title_places=config.model.title_places,
    batch_size=size,
    seed=config.seed,
    start=start,
    stop=config.steps,
    host_rows=sharding.host_rows(setup.mesh, size),
    workers=config.data.workers,
    threads=config.data.threads,
    ahead=config.data.ahead,
  )
  watch = Watch(setup, log)
  saved_at = time.monotonic()
  done = start
  while done < config.steps:
    begin = time.perf_counter()
    batch = sharding.to_devices(setup.mesh, size, next(batches))
    waited = time.perf_counter() - begin
    state, report = setup.step(state, batch)
    done += 1
    watch.see(done, report, waited)
    checkpoints.seal()

    last = done == config.steps
    stopping = stop.agreed(done)
    evaluating = evaluate and (last or done % config.eval_every == 0)
    minutes = (time.monotonic() - saved_at) / 60
    saving = (
      last
      or stopping
      or evaluating
      or done % config.checkpoint.every == 0
      or _all_agree(minutes >= config.checkpoint.minutes, done, config)
    )
    if not saving:
      continue
    # What is logged up to this step is on disk before its checkpoint is, so
    # that a resume from here misses no row.
    watch.flush()
    metrics = None
    if evaluating:
      metrics = {k: float(v) for k, v in evaluate(state.params).items()}
      if metrics:
        log.write(done, "eval", metrics)
        watch.say(done, metrics)
      watch.restart()
    checkpoints.save(done, state, metrics=metrics or None)
    saved_at = time.monotonic()
    if stopping and not last:
      break
  checkpoints.wait()
  if checkpoints.steps()[-1:] != [done]:
    raise SaveError(
      f"step {done} is not among the checkpoints {checkpoints.steps()}"
    )
  if done < config.steps:
    print(f"stopped at step {done}, saved; start again to go on", flush=True)
    return EXIT_START_AGAIN
  return 0


def _all_agree(due: bool, step: int, config: Config) -> bool:
  """Whether process 0's clock says so; asked at log steps where many run."""
  if jax.process_count() == 1:
    return due
  if step % config.log_every:
    return False
  return bool(multihost_utils.broadcast_one_to_all(np.int32(due)))
