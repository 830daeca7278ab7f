"""A planned run in, a trained workdir and its result file out.

A run without a result file is not finished, whatever its folder holds: the
same `item-jax train` goes on from its newest checkpoint.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from item_jax.comparison import files, plan
from item_jax.comparison.plan import Run
from item_jax.comparison.request import Job
from item_jax.comparison.subprocesses import FailedError, failure
from item_jax.config import Config
from item_jax.diagnostics.verify import DROPPED, RESULT_FILE
from item_jax.distributed.processes import EXIT_FAILED, EXIT_START_AGAIN
from item_jax.errors import UserError
from item_jax.files import write_json
from item_jax.training.metric_log import whole_rows

CHOICE_METRIC = "both/map@10"  # of validation; the same for every system


def run_folder(out: Path, run: Run) -> Path:
  return out / "runs" / run.system / run.label


def say(text: str) -> None:
  # At once: lines of systems that are worked on side by side stay whole.
  sys.stdout.write(text + "\n")
  sys.stdout.flush()


def full_run(job: Job, name: str, seed: int) -> Run:
  """The run of a system at a seed that is scored.

  Raises:
    FailedError: its learning rate could not be chosen.
  """
  facts = job.facts(name)
  if "factor" not in facts:
    raise FailedError(f"{name} has no learning rate yet: its own row says why")
  return plan.full_run(name, facts, seed)


def finished(job: Job, name: str, seed: int, call: Callable) -> Path:
  """The folder of a system's full run, trained unless it is finished.

  Raises:
    FailedError: the run failed or diverged.
  """
  run = full_run(job, name, seed)
  folder = run_folder(job.out, run)
  if train(job, run, call)["diverged"]:
    raise FailedError(f"{name} seed {seed} diverged; see {folder}/log.txt")
  return folder


def train(job: Job, run: Run, call: Callable) -> dict:
  """Trains a run unless it is finished; gives its result.

  Returns:
    {"steps", "seconds", "evaluations": [{"step", "both/map@10", ...}],
    "diverged", ...}.

  Raises:
    FailedError: training failed in a way that is no result.
  """
  folder, config = run_folder(job.out, run), job.configs[run.system]
  done = files.read_json(folder / RESULT_FILE)
  if done is not None:
    if done["run"] != list(run):
      raise UserError(
        f"{folder} holds the run {done['run']}, asked is {list(run)}: give"
        " another --out"
      )
    return done
  speed = job.facts(run.system).get("seconds_per_step")
  about = f", about {run.steps * speed:,.0f} s" if speed else ""
  say(f"{run.system} {run.label}: {run.steps:,} steps{about}")
  words = [
    "train",
    f"--config={job.flag(run.system)}",
    f"--workdir={folder / 'workdir'}",
    *job.request.overrides,
    *plan.options(run, config, str(job.request.data)),
  ]
  log = folder / "log.txt"
  code = EXIT_START_AGAIN
  while code == EXIT_START_AGAIN:  # stopped by somebody else than us
    code = call(words, log=log)
  rows = read_rows(folder / "workdir" / "metrics.jsonl")
  diverged = code == EXIT_FAILED and _diverged(rows, config)
  if code and not diverged:
    raise FailedError(failure(words[0], code, log))
  result = {
    "run": list(run),
    "lr": config.optim.lr * run.factor,
    "steps": run.steps,
    "seconds": seconds_of(rows, config.batch_size),
    "evaluations": evaluations(rows),
    "diverged": diverged,
    "versions": files.versions(),
    DROPPED: False,
  }
  write_json(folder / RESULT_FILE, result)
  return result


def read_rows(path: Path) -> list[dict]:
  if not path.is_file():
    return []
  return [row for row, _ in whole_rows(path)]


def evaluations(rows: Sequence[dict]) -> list[dict]:
  return [
    {k: v for k, v in row.items() if k != "kind"}
    for row in rows
    if row["kind"] == "eval"
  ]


def seconds_of(rows: Sequence[dict], batch_size: int) -> float:
  """Seconds that training took by its own log, input included.

  Compilation, evaluations and what a kill threw away are left out, so that an
  interrupted run counts as one that was not.
  """
  seconds, before = 0.0, 0
  for row in rows:
    if row["kind"] != "train":
      continue
    seconds += (row["step"] - before) * batch_size / row["samples_per_second"]
    before = row["step"]
  return seconds


def _diverged(rows: Sequence[dict], config: Config) -> bool:
  bad = [row["in_a_row"] for row in rows if row["kind"] in ("bad", "spike")]
  return bool(bad) and bad[-1] >= config.max_skipped_steps
