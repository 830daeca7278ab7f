"""Trains planned runs, each in a workdir with a result file beside it.

A run without a result file is not finished, whatever its folder holds: the
same `item-jax train` goes on from its newest checkpoint.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from item_jax.comparison import files, plan
from item_jax.comparison.files import DROPPED, RESULT_FILE
from item_jax.comparison.plan import Run, options
from item_jax.comparison.request import Job
from item_jax.comparison.subprocesses import (
  FailedError,
  check_call,
  command,
  describe_failure,
)
from item_jax.config import Config
from item_jax.distributed.processes import EXIT_FAILED, EXIT_START_AGAIN
from item_jax.errors import UserError
from item_jax.files import whole_rows, write_json

logger = logging.getLogger(__name__)

CHOICE_METRIC = "both/map@10"  # of validation; the same for every system


def run_folder(job: Job, run: Run) -> Path:
  """The folder of a run's workdir, log and result file."""
  return job.out / "runs" / run.system / run.label


def full_run(job: Job, name: str, seed: int) -> Run:
  """The run of a system at a seed that is scored.

  Raises:
    FailedError: its learning rate could not be chosen.
  """
  facts = job.facts(name)
  if "factor" not in facts:
    raise FailedError(f"{name} has no learning rate yet: its own row says why")
  return plan.full_run(name, facts, seed)


def train_full(job: Job, name: str, seed: int) -> Path:
  """Trains a system's full run unless it is finished; returns its folder.

  Raises:
    FailedError: the run failed or diverged.
  """
  run = full_run(job, name, seed)
  folder = run_folder(job, run)
  if train(job, run)["diverged"]:
    raise FailedError(f"{name} seed {seed} diverged; see {folder}/log.txt")
  return folder


def train(job: Job, run: Run) -> dict[str, Any]:
  """Trains a run unless it is finished; returns its result.

  Returns:
    {"steps", "seconds", "evaluations": [{"step", "both/map@10", ...}],
    "diverged", ...}.

  Raises:
    FailedError: training failed in a way that is no result.
  """
  folder, config = run_folder(job, run), job.configs[run.system]
  done = files.read_json(folder / RESULT_FILE)
  if done is not None:
    if done["run"] != list(run):
      raise UserError(
        f"{folder} holds the run {done['run']}, expected {list(run)}: give"
        " another --out"
      )
    return done
  speed = job.facts(run.system).get("seconds_per_step")
  about = f", about {run.steps * speed:,.0f} s" if speed else ""
  logger.info(f"{run.system} {run.label}: {run.steps:,} steps{about}")
  words = [*job.options(run.system), *options(run, config, job.request.data)]
  flags = {"config": job.flag(run.system), "workdir": folder / "workdir"}
  log = folder / "log.txt"
  code = EXIT_START_AGAIN
  while code == EXIT_START_AGAIN:  # something else than we stopped it
    code = job.execute(command("train", *words, **flags), log=log)
  rows = read_rows(folder / "workdir" / "metrics.jsonl")
  diverged = code == EXIT_FAILED and _diverged(rows, config)
  if code and not diverged:
    raise FailedError(describe_failure("train", code, log))
  result = {
    "run": list(run),
    "lr": config.optim.lr * run.factor,
    "steps": run.steps,
    "seconds": training_seconds(rows, config.batch_size),
    "evaluations": evaluations(rows),
    "diverged": diverged,
    "versions": files.versions(),
    DROPPED: False,
  }
  write_json(folder / RESULT_FILE, result)
  return result


def take_weights(job: Job, name: str) -> Path:
  """Makes the run of weights as they are, in no steps, unless it is there.

  Returns:
    Its folder.

  Raises:
    FailedError: the weights are not such as the run needs.
  """
  run = Run(name, "seed-0", 0, 0, 1.0)
  folder = run_folder(job, run)
  if not (folder / RESULT_FILE).is_file():
    logger.info(f"{name}: takes the weights")
    words = [*job.options(name), f"--config.data.path={job.request.data}"]
    flags = {"config": job.flag(name), "workdir": folder / "workdir"}
    check_call(
      job.execute, command("train", *words, **flags), log=folder / "log.txt"
    )
    write_json(
      folder / RESULT_FILE, {"run": list(run), "versions": files.versions()}
    )
  return folder


def read_rows(path: Path) -> list[dict[str, Any]]:
  """Reads a metrics log; no rows where there is none."""
  if not path.is_file():
    return []
  return [row for row, _ in whole_rows(path)]


def evaluations(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """The evaluations in a metrics log."""
  return [
    {k: v for k, v in row.items() if k != "kind"}
    for row in rows
    if row["kind"] == "eval"
  ]


def training_seconds(rows: Sequence[dict[str, Any]], batch_size: int) -> float:
  """Seconds that training took by its own log, input included.

  Compilation, evaluations and what a kill threw away are left out, so that an
  interrupted run counts the same as an uninterrupted one.
  """
  seconds, before = 0.0, 0
  for row in rows:
    if row["kind"] == "train":
      pairs = (row["step"] - before) * batch_size
      seconds += pairs / row["samples_per_second"]
      before = row["step"]
  return seconds


def _diverged(rows: Sequence[dict[str, Any]], config: Config) -> bool:
  skipped = [r["in_a_row"] for r in rows if r["kind"] in ("bad", "spike")]
  return bool(skipped) and skipped[-1] >= config.max_skipped_steps
