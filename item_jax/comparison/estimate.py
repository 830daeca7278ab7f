"""Estimates what a comparison would train, and what that costs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from item_jax.comparison.files import RESULT_FILE
from item_jax.comparison.plan import Budget, steps_of
from item_jax.comparison.request import Job
from item_jax.comparison.table import Table, amount, whole
from item_jax.comparison.tune import MORE_RATES
from item_jax.config import Config


class Estimate(NamedTuple):
  """Runs and costs of what would be trained; str() of it is a table.

  costs: {system: as `cost` returns, and "parameters"}, and "in all" the sums,
    None where one of them is not known.
  notes: what a reader of the table must know.
  """

  costs: dict[str, dict[str, Any]]
  notes: list[str]

  def table(self) -> Table:
    """Returns a line per trained system, and one of all."""
    header = ["system", "runs", "done", "steps", "seconds", "FLOPs"]
    lines = [
      [
        name,
        one["runs"],
        one["done"],
        whole(one["steps"], absent="by its speed") if "steps" in one else "",
        whole(one["seconds"]),
        amount(one["flops"]),
        amount(one["parameters"]) if "parameters" in one else "",
      ]
      for name, one in self.costs.items()
    ]
    return Table("What would be trained", [*header, "parameters"], lines)

  def __str__(self) -> str:
    return "\n".join([self.table().to_text(), *self.notes])

  def _repr_html_(self) -> str:
    return self.table().to_html() + "<br>".join(self.notes)


def estimate_job(job: Job) -> Estimate:
  """Estimates a job by its plan and by what is finished of it."""
  costs = {}
  for name, config in job.configs.items():
    done = job.out.glob(f"runs/{name}/*/{RESULT_FILE}")
    costs[name] = cost(
      job.facts(name),
      job.budget,
      config,
      rates=job.rates,
      share=job.request.tune_share,
      seeds=job.request.seeds,
      done={path.parent.name for path in done},
    )
    costs[name]["parameters"] = job.facts(name)["parameters"]
  total = {}
  for key in ("runs", "done", "seconds", "flops"):
    parts = [one[key] for one in costs.values()]
    total[key] = None if None in parts else sum(parts)
  costs["in all"] = total
  return Estimate(costs, _notes(job, total["seconds"]))


def _notes(job: Job, seconds: float | None) -> list[str]:
  request, rates = job.request, len(job.rates)
  notes = [f"budget of a full run: {job.budget.text}; {request.seeds} seeds"]
  if rates > 1 and job.configs:
    notes[0] += (
      f"; {rates} tuning runs of {request.tune_share:g} of it a system"
    )
    notes.append(
      f"not counted: up to {MORE_RATES} more of these, where the best rate is"
      " an end of the grid"
    )
  notes.append(
    "seconds and FLOPs are of what is left; compilation, evaluations, exports"
    " and scores come on top"
  )
  if request.jobs > 1 and seconds is not None:
    elapsed = seconds / request.jobs
    notes.append(f"about {elapsed:,.0f} s elapsed, {request.jobs} side by side")
  others = [row.name for row in job.rows if row.kind != "trained"]
  if others:
    notes.append(f"nothing to train for: {', '.join(others)}")
  notes += [
    f"left out, without {flags}: {', '.join(held)}"
    for flags, held in job.left_out.items()
  ]
  return notes


def cost(
  facts: Mapping[str, Any],
  budget: Budget,
  config: Config,
  *,
  rates: Sequence[float],
  share: float,
  seeds: int,
  done: Collection[str] = (),
) -> dict[str, Any]:
  """Estimates the training of one system.

  Compilation, evaluations and exports come on top.

  Args:
    facts: what the plan holds of the system.
    share: of a full run's steps, for each tuning run.
    done: labels of runs that are finished.

  Returns:
    {"runs", "done": how many of them are finished, "steps": of a full run,
    "seconds" and "flops": of what is left}; None where something is not
    known before the speed is measured.
  """
  speed = facts.get("seconds_per_step")
  steps = facts.get("steps") or steps_of(budget, config, speed)
  tuning = {f"tune-{rate:g}" for rate in rates} if len(rates) > 1 else set()
  first = 1 if tuning and share == 1 else 0  # seed 0 is a tuning run then
  full = {f"seed-{seed}" for seed in range(first, seeds)}
  done = set(done)
  left = share * len(tuning - done) + len(full - done)  # in full runs
  seconds = None
  if budget.unit == "seconds":
    seconds = budget.amount * left
  elif speed is not None:
    seconds = steps * speed * left
  flops = None
  if steps is not None:
    flops = steps * left * config.batch_size * facts["flops_per_sample"]
  return {
    "runs": len(tuning | full),
    "done": len((tuning | full) & done),
    "steps": steps,
    "seconds": seconds,
    "flops": flops,
  }
