"""A system in; its learning rate, steps and, by tuning runs, its speed out."""

import shutil
import statistics
from collections.abc import Callable, Sequence

from item_jax.comparison import files
from item_jax.comparison import plan as plan_lib
from item_jax.comparison.plan import Run
from item_jax.comparison.request import Job
from item_jax.comparison.runs import CHOICE_METRIC, run_folder, say, train
from item_jax.comparison.subprocesses import FailedError, must
from item_jax.diagnostics.verify import DROPPED, RESULT_FILE
from item_jax.files import write_json

MORE_RATES = 4  # tried at most beyond the ends of the grid
_RISE = 1.1


def prepare(job: Job, name: str, call: Callable) -> None:
  """Settles a system's learning rate and its steps."""
  facts, config = job.facts(name), job.configs[name]
  if "factor" in facts:
    return
  timed = job.budget.unit == "seconds"
  if timed and "seconds_per_step" not in facts:
    found = _measure(job, name, call)
    job.note(name, seconds_per_step=found["seconds_per_step"])
  speed = facts.get("seconds_per_step")
  steps = plan_lib.settle_steps(job.budget, config, speed)
  share = job.request.tune_share
  tuning = plan_lib.tuning_runs(name, steps, job.rates, share)
  if not tuning:
    job.note(name, factor=job.rates[0], steps=steps)
    return
  results = {run.factor: train(job, run, call) for run in tuning}
  factor = choose_rate(results)
  # A best rate at an end of the grid says that a better one may lie outside;
  # where nothing has been learnt yet, the smallest is the best by standing
  # still, and would be for ever.
  while len(results) < len(job.rates) + MORE_RATES:
    rate = plan_lib.beyond(results, factor)
    if rate in (None, *results) or not any_rose(results):
      break
    run = tuning[0]._replace(label=f"tune-{rate:g}", factor=rate)
    tuning.append(run)
    results[rate] = train(job, run, call)
    factor = choose_rate(results)
  chosen = {
    "factor": factor,
    "tuning_steps": tuning[0].steps,
  }
  if timed:
    # Training as it is, input and neighbours included, is slower than a step
    # measured by itself.
    speed = statistics.median(
      result["seconds"] / result["steps"]
      for result in results.values()
      if not result["diverged"]
    )
    chosen["seconds_per_step"] = speed
    again = plan_lib.settle_steps(job.budget, config, speed)
    # Tuning runs of the whole budget are not trained again for a few steps.
    if share < 1 or abs(again - steps) > plan_lib.NEAR * steps:
      steps = again
  chosen["steps"] = steps
  chosen["tuned"] = {
    f"{factor:g}": [row.get(CHOICE_METRIC) for row in result["evaluations"]]
    for factor, result in results.items()
  }
  chosen["rose"] = any_rose(results)
  kept = plan_lib.full_run(name, chosen, 0)
  for run in tuning:
    if run != kept:
      _drop_checkpoints(job, run)
  job.note(name, **chosen)


def _measure(job: Job, name: str, call: Callable) -> dict:
  """What `item-jax bench step` says of a system."""
  say(f"{name}: measuring a step")
  folder = job.out / "runs" / name
  path = folder / "bench.json"
  folder.mkdir(parents=True, exist_ok=True)
  path.unlink(missing_ok=True)  # a file may be half of a killed one's
  words = [
    "bench",
    "step",
    f"--config={job.flag(name)}",
    "--seconds=15",
    f"--json={path}",
    *job.request.overrides,
    f"--config.data.path={job.request.data}",
  ]
  must(call, words, log=folder / "bench.log")
  return files.read_json(path)


def choose_rate(results: dict[float, dict]) -> float:
  """The factor that ends with the best validation MAP@10; the smallest of
  equals. Where any rose, smaller ones than these stood still and are left out;
  a larger one may have risen before it was first looked at.

  The last evaluation and not the best: of a short run the best is often the
  first, where the rate that moves least is ahead.

  Raises:
    FailedError: no rate gave a score to choose by.
  """
  scored = {
    factor: result["evaluations"]
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
  least = min([f for f, rows in scored.items() if rose(rows)], default=0)
  ends = {
    factor: rows[-1][CHOICE_METRIC]
    for factor, rows in scored.items()
    if factor >= least
  }
  return min(ends, key=lambda factor: (-ends[factor], factor))


def any_rose(results: dict[float, dict]) -> bool:
  return any(
    rose(result["evaluations"])
    for result in results.values()
    if not result["diverged"]
  )


def rose(evaluations: Sequence[dict]) -> bool:
  """Whether a run ended a tenth above where it was first looked at, or more:
  a random network finds something too, and training may cost that first."""
  found = [row.get(CHOICE_METRIC) for row in evaluations]
  if len(found) < 2 or None in found:
    return False
  return found[-1] > _RISE * found[0]


def _drop_checkpoints(job: Job, run: Run) -> None:
  """Only the score of a run is wanted from here on; metrics.jsonl stays."""
  folder = run_folder(job.out, run)
  result = files.read_json(folder / RESULT_FILE)
  write_json(folder / RESULT_FILE, result | {DROPPED: True})
  shutil.rmtree(folder / "workdir" / "checkpoints", ignore_errors=True)
