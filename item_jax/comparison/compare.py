"""Compares systems: trains, exports and scores all of them alike.

Fair means: one data set, one preprocessing, the same budget, the same grid of
learning rates with the same rule to choose by, one scorer.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from item_jax.comparison.describe import describe as describe_by_shapes
from item_jax.comparison.estimate import Estimate, estimate_job
from item_jax.comparison.files import COMPARISON_FILE, PLAN_FILE, read_json
from item_jax.comparison.request import Describe, Job, Request, make_job
from item_jax.comparison.result import Comparison, collect
from item_jax.comparison.rows import score_row
from item_jax.comparison.subprocesses import Commands
from item_jax.comparison.systems import System
from item_jax.comparison.tune import tune
from item_jax.errors import UserError
from item_jax.files import CorruptError, exclusive_lock

logger = logging.getLogger(__name__)


def compare(
  request: Request,
  *,
  commands: Callable = Commands,
  describe: Describe = describe_by_shapes,
) -> Comparison:
  """Trains, exports and scores what is not finished yet; writes the tables.

  comparison.{json,csv,md,html} are written after each seed, and when it is
  interrupted. The same call goes on where an earlier one stopped. A system
  that fails does not stop the others; see `Comparison.failures`.

  Args:
    commands: takes a folder for compiled programs and how many commands may
      run side by side; a context that gives what runs `item-jax` commands.
    describe: gives the parameters and the work of configs.

  Raises:
    UserError: the request cannot work, or is not what the folder holds.
    KeyboardInterrupt: it was asked to stop; what is finished is kept.
  """
  job = make_job(request, describe)
  failures = _read_failures(job)
  processes = commands(job.out / "cache", jobs=request.jobs)
  with exclusive_lock(job.out, what="comparison"), processes as execute:
    job = job._replace(execute=execute)
    job.write_plan()
    comparison = Comparison({}, [])  # there is at least one seed
    try:
      for seed in range(request.seeds):
        _run_seed(job, seed, failures)
        comparison = collect(job, failures)
        comparison.write(job.out)
    except KeyboardInterrupt:
      collect(job, failures).write(job.out)
      raise
  return comparison


def report(
  request: Request, *, describe: Describe = describe_by_shapes
) -> Comparison:
  """Writes the tables of what is finished; trains and scores nothing.

  Raises:
    UserError: no comparison was begun in the folder, or it is another one.
  """
  job = make_job(request, describe)
  if not (job.out / PLAN_FILE).is_file():
    raise UserError(f"{job.out} holds no {PLAN_FILE}: nothing begun")
  with exclusive_lock(job.out, what="comparison"):
    comparison = collect(job, _read_failures(job))
    comparison.write(job.out)
  return comparison


def _read_failures(job: Job) -> dict[str, str]:
  """What the tables of an earlier call say failed, and why."""
  path = job.out / COMPARISON_FILE
  try:
    written = read_json(path)
    return dict(written["about"].get("failures", {})) if written else {}
  except (CorruptError, LookupError, TypeError, ValueError) as error:
    # All else in it is made of files that are checked.
    logger.info(
      f"{path} is written anew; what failed before is not known: {error}"
    )
    return {}


def estimate(
  request: Request, *, describe: Describe = describe_by_shapes
) -> Estimate:
  """Estimates what `compare` would train and what it costs; writes nothing.

  Raises:
    UserError: the request cannot work, or is not what the folder holds.
  """
  return estimate_job(make_job(request, describe))


def _run_seed(job: Job, seed: int, failures: dict[str, str]) -> None:
  """Makes every row at one seed.

  Trained systems come first, side by side; the others are made of them.
  """

  def make(row: System) -> None:
    try:
      if row.kind == "trained":
        tune(job, row.name)
      score_row(job, row, seed)
    except UserError as error:
      failures[f"{row.name}, seed {seed}"] = str(error)
      logger.info(f"failed: {row.name}, seed {seed}: {error}")

  trained = [row for row in job.rows if row.kind == "trained"]
  pool = ThreadPoolExecutor(job.request.jobs)
  try:
    for done in as_completed([pool.submit(make, row) for row in trained]):
      done.result()
  finally:  # when interrupted, what has not begun does not begin
    pool.shutdown(cancel_futures=True)
  for row in job.rows:
    if row.kind not in ("trained", "same") and (not seed or row.seeded):
      make(row)
