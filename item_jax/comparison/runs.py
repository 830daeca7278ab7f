"""A planned run in, a trained workdir and its result file out.

A run without a result file is not finished, whatever its folder holds: the
same `item-jax train` goes on from its newest checkpoint.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from item_jax.comparison import files
from item_jax.comparison.calls import (
  EXIT_START_AGAIN,
  FailedError,
  failure,
  must,
)
from item_jax.comparison.plan import Run, options
from item_jax.config import Config
from item_jax.errors import UserError

RESULT_FILE = "run.json"
CHOICE_METRIC = "both/map@10"  # of validation; the same for every system
_EXIT_FAILED = 4  # of `item-jax train`: it diverged, or could not save


def run_folder(out: Path, run: Run) -> Path:
  return out / "runs" / run.system / run.label


def measure(
  out: Path, name: str, config: str, words: Sequence[str], call: Callable
) -> dict:
  """Seconds a step of a system, as `item-jax bench step` sees it.

  Args:
    config: FILE:VARIANT.
    words: overrides and the data's path.
  """
  folder = out / "runs" / name
  path = folder / "bench.json"
  folder.mkdir(parents=True, exist_ok=True)
  path.unlink(missing_ok=True)  # a file may be half of a killed one's
  line = ["bench", "step", f"--config={config}", "--seconds=15"]
  must(call, [*line, f"--json={path}", *words], log=folder / "bench.log")
  return files.read_json(path)


def finish(
  out: Path,
  run: Run,
  *,
  config: Config,
  config_flag: str,
  overrides: Sequence[str],
  data: str,
  call: Callable,
) -> dict:
  """Trains a run unless it is finished; gives its result.

  Returns:
    {"steps", "seconds", "evaluations": [{"step", "both/map@10", ...}],
    "diverged"}.

  Raises:
    FailedError: training failed in a way that is no result.
  """
  folder = run_folder(out, run)
  done = files.read_json(folder / RESULT_FILE)
  if done is not None:
    if done["run"] != list(run):
      raise UserError(
        f"{folder} holds the run {done['run']}, asked is {list(run)}: give"
        " another --out"
      )
    return done
  words = [
    "train",
    f"--config={config_flag}",
    f"--workdir={folder / 'workdir'}",
    *overrides,
    *options(run, config, data),
  ]
  log = folder / "log.txt"
  code = EXIT_START_AGAIN
  while code == EXIT_START_AGAIN:  # stopped by somebody else than us
    code = call(words, log=log)
  rows = read_rows(folder / "workdir" / "metrics.jsonl")
  diverged = code == _EXIT_FAILED and _diverged(rows, config)
  if code and not diverged:
    raise FailedError(failure(words[0], code, log))
  result = {
    "run": list(run),
    "lr": config.optim.lr * run.factor,
    "steps": run.steps,
    "seconds": seconds_of(rows, config.batch_size),
    "evaluations": evaluations(rows),
    "diverged": diverged,
  }
  files.write_json(folder / RESULT_FILE, result)
  return result


def drop_checkpoints(out: Path, run: Run) -> None:
  """Only the score of a run is wanted from here on; metrics.jsonl stays."""
  folder = run_folder(out, run) / "workdir" / "checkpoints"
  shutil.rmtree(folder, ignore_errors=True)


def choose_rate(results: dict[float, dict]) -> float:
  """The factor that ends with the best validation MAP@10; the smallest of
  equals.

  The last evaluation and not the best: of a short run the best is often the
  first, where the rate that moves least is ahead.

  Raises:
    FailedError: no rate gave a score to choose by.
  """
  scored = {
    factor: result["evaluations"][-1][CHOICE_METRIC]
    for factor, result in results.items()
    if not result["diverged"]
    and result["evaluations"]
    and CHOICE_METRIC in result["evaluations"][-1]
  }
  if not scored:
    raise FailedError(
      f"no run at {sorted(results)} times the config's learning rate gave a"
      f" validation {CHOICE_METRIC} to choose by: all diverged, or no product"
      " of the validation split has two listings; with one --rates nothing is"
      " to be chosen"
    )
  return min(scored, key=lambda factor: (-scored[factor], factor))


def read_rows(path: Path) -> list[dict]:
  if not path.is_file():
    return []
  return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


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
  bad = [row["in_a_row"] for row in rows if row["kind"] == "bad"]
  return bool(bad) and bad[-1] >= config.max_bad_steps
