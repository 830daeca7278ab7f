"""Chooses each system's learning rate by short runs, and settles its steps."""

import logging
import shutil
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from item_jax.comparison import files
from item_jax.comparison import plan as plan_lib
from item_jax.comparison.files import DROPPED, RESULT_FILE
from item_jax.comparison.plan import Run
from item_jax.comparison.request import Job
from item_jax.comparison.runs import CHOICE_METRIC, run_folder, train
from item_jax.comparison.subprocesses import FailedError, check_call, command
from item_jax.files import write_json

logger = logging.getLogger(__name__)

MORE_RATES = 4  # tried at most beyond the ends of the grid
_IMPROVEMENT = 1.1  # of the last evaluation over the first


def tune(job: Job, name: str) -> None:
  """Settles a system's learning rate and its steps, unless they are settled.

  Raises:
    FailedError: no rate gave a score to choose by, or a command failed.
  """
  facts, config = job.facts(name), job.configs[name]
  if "factor" in facts:
    return
  timed = job.budget.unit == "seconds"
  if timed and "seconds_per_step" not in facts:
    job.record(name, seconds_per_step=_measure_step(job, name))

  def steps_at(speed: float | None) -> int:
    steps = plan_lib.steps_of(job.budget, config, speed)
    assert steps is not None  # the speed is known where it is needed
    return steps

  steps = steps_at(facts.get("seconds_per_step"))
  share = job.request.tune_share
  runs = plan_lib.tuning_runs(name, steps, job.rates, share)
  if not runs:
    job.record(name, factor=job.rates[0], steps=steps)
    return
  results = {run.factor: train(job, run) for run in runs}
  # At an end of the grid a better rate may lie outside. But where nothing has
  # been learnt, the smallest is best because it changes least, for ever.
  while len(results) < len(job.rates) + MORE_RATES:
    rate = plan_lib.next_rate(results, choose_rate(results))
    if rate is None or rate in results or not any_improved(results):
      break
    runs.append(runs[0]._replace(label=f"tune-{rate:g}", factor=rate))
    results[rate] = train(job, runs[-1])
  chosen = {"factor": choose_rate(results), "tuning_steps": runs[0].steps}
  if timed:
    # Real training, input and other jobs included, is slower than a step
    # measured by itself.
    speed = statistics.median(
      result["seconds"] / result["steps"]
      for result in results.values()
      if not result["diverged"]
    )
    chosen["seconds_per_step"] = speed
    again = steps_at(speed)
    # Tuning runs of the whole budget are not trained again for a few steps.
    if share < 1 or abs(again - steps) > plan_lib.TOLERANCE * steps:
      steps = again
  chosen["steps"] = steps
  chosen["tuned"] = {
    f"{factor:g}": [row.get(CHOICE_METRIC) for row in result["evaluations"]]
    for factor, result in results.items()
  }
  chosen["rose"] = any_improved(results)
  kept = plan_lib.full_run(name, chosen, 0)
  for run in runs:
    if run != kept:
      _drop_checkpoints(job, run)
  job.record(name, **chosen)


def _measure_step(job: Job, name: str) -> float:
  """Seconds per step, as `item-jax bench step` measures them."""
  logger.info(f"{name}: measuring a step")
  folder = job.out / "runs" / name
  path = folder / "bench.json"
  folder.mkdir(parents=True, exist_ok=True)
  path.unlink(missing_ok=True)  # a kill may have left half of it
  flags = {"config": job.flag(name), "seconds": 15, "json": path}
  words = [*job.options(name), f"--config.data.path={job.request.data}"]
  bench = ["bench", *command("step", *words, **flags)]
  check_call(job.execute, bench, log=folder / "bench.log")
  return files.read_json(path)["seconds_per_step"]


def choose_rate(results: Mapping[float, Mapping[str, Any]]) -> float:
  """Chooses the factor that ends with the best validation MAP@10.

  Of equals the smallest. Where any run improved, smaller rates than those that
  did are left out: they have learnt nothing. A larger one may have improved
  before its first evaluation.

  The last evaluation counts, not the best: of a short run the best is often
  the first, where the rate that changes least is ahead.

  Args:
    results: {factor: result of its run}.

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
  least = min([f for f, rows in scored.items() if improved(rows)], default=0)
  last = {
    factor: rows[-1][CHOICE_METRIC]
    for factor, rows in scored.items()
    if factor >= least
  }
  return min(last, key=lambda factor: (-last[factor], factor))


def any_improved(results: Mapping[float, Mapping[str, Any]]) -> bool:
  """Whether any run that did not diverge improved."""
  return any(
    improved(result["evaluations"])
    for result in results.values()
    if not result["diverged"]
  )


def improved(evaluations: Sequence[Mapping[str, Any]]) -> bool:
  """Whether a run ended a tenth or more above its first evaluation.

  A random network finds something too, and training may lose that at first.
  """
  found = [row.get(CHOICE_METRIC) for row in evaluations]
  found = [value for value in found if value is not None]
  complete = len(found) == len(evaluations) > 1
  return complete and found[-1] > _IMPROVEMENT * found[0]


def _drop_checkpoints(job: Job, run: Run) -> None:
  """Deletes a tuning run's checkpoints: from here on its score is enough."""
  folder = run_folder(job, run)
  result = files.read_json(folder / RESULT_FILE)
  write_json(folder / RESULT_FILE, result | {DROPPED: True})
  shutil.rmtree(folder / "workdir" / "checkpoints", ignore_errors=True)
