"""What was asked for in; runs with their steps and rates, and a cost, out.

`plan.json` in the comparison's folder holds what must never change on the way
(data, budget, rates, ...) and what was settled once: each system's config,
sizes, learning rate, measured speed and number of steps.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from item_jax.comparison import files
from item_jax.config import Config
from item_jax.data.records import open_store
from item_jax.errors import UserError

PLAN_FILE = "plan.json"
FORMAT = 4
EVALUATIONS = 3  # a run; more of them cost time that is not counted
CHECKPOINTS = 10  # a run: what a kill may cost
LEAST_STEPS = 10
NEAR = 0.1  # of a budget: as good as the same
# Options that are not the user's to set here: `options` does.
SET = ("data.path", "seed", "eval_every", "checkpoint.every", "checkpoint.keep")


class Budget(NamedTuple):
  """Of one full run of one system."""

  amount: float
  unit: str  # "seconds", "steps" or "config", the config's own steps

  @property
  def text(self) -> str:
    if self.unit == "config":
      return "the config's steps"
    return f"{self.amount:g} {self.unit}"


class Run(NamedTuple):
  """One training run."""

  system: str
  label: str  # names its folder: "tune-0.3", "seed-0"
  seed: int
  steps: int
  factor: float  # of the config's learning rate


def parse_budget(text: str | None) -> Budget:
  """ "300s", "5m", "2h", "2000steps"; None is the config's own steps."""
  if text is None:
    return Budget(0.0, "config")
  found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|steps)", text)
  if not found or not float(found[1]):
    raise UserError(
      f"budget {text!r}: expected seconds as 300s (or 5m, 2h), or steps as"
      " 2000steps"
    )
  if found[2] == "steps":
    if not float(found[1]).is_integer():
      raise UserError(f"budget {text!r}: steps are whole")
    return Budget(float(found[1]), "steps")
  seconds = {"s": 1, "m": 60, "h": 3600}[found[2]]
  return Budget(float(found[1]) * seconds, "seconds")


def parse_rates(text: str) -> tuple[float, ...]:
  """Factors of a config's learning rate, as in "0.3,1,3"."""
  try:
    rates = tuple(float(rate) for rate in text.split(","))
  except ValueError:
    raise UserError(f"rates {text!r}: expected numbers as 0.3,1,3") from None
  if not all(0 < rate < float("inf") for rate in rates):
    raise UserError(f"rates {text!r}: each must be above 0")
  if len(set(rates)) < len(rates):
    raise UserError(f"rates {text!r}: each is wanted once")
  return rates


def describe_data(path, split: str) -> dict:
  """The path, fingerprints and rows of a store that has the scored split.

  Its words and pixels have fingerprints too: rows and photos may be the same,
  prepared with another tokenizer.
  """
  store = open_store(path)
  if not store.sizes.get(split):
    raise UserError(
      f"{store.path} has no rows in split {split!r}; it has {store.sizes}"
    )
  return {
    "path": str(path),
    "fingerprint": {
      **store.fingerprints,
      **{
        name: store.catalogue[name] for name in ("tokenizer", "preprocessing")
      },
    },
    "rows": dict(store.sizes),
  }


def open_plan(folder, fixed: dict) -> dict:
  """The plan of `folder`, or a new one that is not on disk yet.

  Args:
    fixed: what every call must agree in; `data` by its fingerprints alone, so
      that a data set may move.

  Raises:
    UserError: naming what was and what is asked.
  """
  plan = files.read_json(folder / PLAN_FILE)
  if plan is None:
    return {
      "format": FORMAT,
      "fixed": fixed,
      "systems": {},
    }
  if plan["format"] != FORMAT:
    raise UserError(
      f"{folder / PLAN_FILE} has format {plan['format']}, this version writes"
      f" {FORMAT}: give another --out"
    )
  was = plan["fixed"]
  differing = [
    f"{name}: was {_said(was.get(name))}, is {_said(fixed[name])}"
    for name in fixed
    if _key(was.get(name)) != _key(fixed[name])
  ]
  if differing:
    raise UserError(
      f"{folder} holds another comparison; give another --out, or undo\n  "
      + "\n  ".join(differing)
    )
  plan["fixed"] = fixed  # the data's path may be another
  return plan


def _key(value):
  return value["fingerprint"] if isinstance(value, dict) else value


def _said(value):
  if isinstance(value, dict):
    prints = {k: v[:12] for k, v in value["fingerprint"].items()}
    return f"{value['path']} {prints}"
  return repr(value)


def check_config(name: str, before: dict, now: dict) -> None:
  """Refuses a config file that changed since the plan was made."""
  differing = [
    f"{field}: was {before.get(field)!r}, is {now.get(field)!r}"
    for field in sorted(before.keys() | now.keys())
    if before.get(field) != now.get(field)
  ]
  if differing:
    raise UserError(
      f"the config of {name} is not the plan's; give another --out, or undo\n"
      "  " + "\n  ".join(differing)
    )


def settle_steps(
  budget: Budget, config: Config, seconds_per_step: float | None
) -> int | None:
  """Steps of a full run; None where the speed must be measured first."""
  if budget.unit == "config":
    return config.steps
  if budget.unit == "steps":
    return int(budget.amount)
  if seconds_per_step is None:
    return None
  return max(LEAST_STEPS, int(budget.amount / seconds_per_step))


def tuning_runs(name: str, steps: int, rates, share: float) -> list[Run]:
  """A short run for each rate, at seed 0; none where there is one rate."""
  if len(rates) == 1:
    return []
  short = max(LEAST_STEPS, round(steps * share))
  return [Run(name, f"tune-{rate:g}", 0, short, rate) for rate in rates]


def beyond(tried, factor: float) -> float | None:
  """The rate next to the best one where that is an end of those tried.

  As far from the end as the end is from its neighbour, by ratio.
  """
  rates = sorted(tried)
  if factor == rates[0]:
    return float(f"{rates[0] ** 2 / rates[1]:.2g}")
  if factor == rates[-1]:
    return float(f"{rates[-1] ** 2 / rates[-2]:.2g}")
  return None


def full_run(name: str, facts: dict, seed: int) -> Run:
  """The run that is scored; at seed 0 a tuning run where one is the same."""
  same = not seed and facts["steps"] == facts.get("tuning_steps")
  label = f"tune-{facts['factor']:g}" if same else f"seed-{seed}"
  return Run(name, label, seed, facts["steps"], facts["factor"])


def options(run: Run, config: Config, data: str) -> list[str]:
  """The options of `item-jax train` for a run.

  Warm-up is the share of the steps that it is in the config; a run is
  evaluated about `EVALUATIONS` times, always at its end, and is saved
  `CHECKPOINTS` times.
  """
  steps = run.steps
  warmup = round(steps * min(1.0, config.optim.warmup / config.steps))
  warmup = min(warmup, max(steps - 1, 0))  # in a few steps it rounds to all
  values = {
    "data.path": data,
    "seed": run.seed,
    "steps": steps,
    "optim.lr": repr(config.optim.lr * run.factor),
    "optim.warmup": warmup,
    "log_every": max(1, min(config.log_every, steps // 10)),
    "eval_every": -(-steps // EVALUATIONS),
    "checkpoint.every": -(-steps // CHECKPOINTS),
    "checkpoint.keep": 1,
  }
  return [f"--config.{name}={value}" for name, value in values.items()]


def cost(
  facts: dict,
  budget: Budget,
  config: Config,
  *,
  rates,
  share: float,
  seeds: int,
  done: Collection[str] = (),
) -> dict:
  """What one system's training takes: runs, those of them that are done, steps
  of a full run, and of what is left seconds and FLOPs.

  None where it is not known before the speed is measured. Compilation,
  evaluations and exports come on top.

  Args:
    done: labels of runs that are finished.
  """
  speed = facts.get("seconds_per_step")
  steps = facts.get("steps") or settle_steps(budget, config, speed)
  tuning = [f"tune-{rate:g}" for rate in rates] if len(rates) > 1 else []
  first = 1 if tuning and share == 1 else 0  # seed 0 is a tuning run then
  seeded = [f"seed-{seed}" for seed in range(first, seeds)]
  left = share * len(set(tuning) - set(done)) + len(set(seeded) - set(done))
  seconds = None
  if budget.unit == "seconds":
    seconds = budget.amount * left
  elif speed is not None:
    seconds = steps * speed * left
  flops = None
  if steps is not None:
    flops = steps * left * config.batch_size * facts["flops_per_sample"]
  return {
    "runs": len(tuning + seeded),
    "done": len(set(tuning + seeded) & set(done)),
    "steps": steps,
    "seconds": seconds,
    "flops": flops,
  }
