"""Plans training runs: budgets, learning rates, steps and options.

`plan.json` in the comparison's folder holds what must never change on the way
(data, budget, rates, ...) and what was settled once: each system's config,
sizes, learning rate, measured speed and number of steps.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.comparison.files import PLAN_FILE, read_json
from item_jax.config import Config, flatten, from_flat
from item_jax.data.records import open_dataset
from item_jax.errors import UserError

FORMAT = 4
EVALUATIONS = 3  # per run; more would cost time that is not counted
CHECKPOINTS = 10  # per run: what a kill may cost
MIN_STEPS = 10
TOLERANCE = 0.1  # relative; this close to a budget counts as equal to it
# Options that the user must not set here, because `options` does.
RESERVED = (
  "data.path",
  "seed",
  "eval_every",
  "checkpoint.every",
  "checkpoint.keep",
)


class Budget(NamedTuple):
  """The budget of one full run of one system."""

  amount: float
  unit: str  # "seconds", "steps" or "config": as many steps as it states

  @property
  def text(self) -> str:
    """The budget as plan.json and the tables state it."""
    if self.unit == "config":
      return "the config's steps"
    return f"{self.amount:g} {self.unit}"


class Run(NamedTuple):
  """One training run."""

  system: str
  label: str  # the name of its folder: "tune-0.3", "seed-0"
  seed: int
  steps: int
  factor: float  # of the config's learning rate


def parse_budget(text: str | None) -> Budget:
  """Parses "300s", "5m", "2h" or "2000steps"; None: the config's own steps.

  Raises:
    UserError: it is none of these, or zero.
  """
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
  """Parses factors of the config's learning rate, as "0.3,1,3".

  Raises:
    UserError: one is no positive number, or is there twice.
  """
  try:
    rates = tuple(float(rate) for rate in text.split(","))
  except ValueError:
    raise UserError(f"rates {text!r}: expected numbers as 0.3,1,3") from None
  if not all(0 < rate < float("inf") for rate in rates):
    raise UserError(f"rates {text!r}: each must be above 0")
  if len(set(rates)) < len(rates):
    raise UserError(f"rates {text!r}: each is wanted once")
  return rates


def describe_data(path: Path, split: str) -> dict[str, Any]:
  """Describes a data set by path, fingerprints and number of rows.

  The tokenizer and the preprocessing have fingerprints too: the same listings
  may have been prepared in another way.

  Raises:
    UserError: it has no rows in `split`, which is scored.
  """
  store = open_dataset(path)
  if not store.sizes.get(split):
    raise UserError(
      f"{store.path} has no rows in split {split!r}; it has {store.sizes}"
    )
  catalogue = store.catalogue
  return {
    "path": str(path),
    "fingerprint": {
      **store.fingerprints,
      "tokenizer": catalogue["tokenizer"],
      "preprocessing": catalogue["preprocessing"],
    },
    "rows": dict(store.sizes),
  }


def open_plan(folder: Path, fixed: dict[str, Any]) -> dict[str, Any]:
  """Reads the plan of `folder`, or makes a new one that is not on disk yet.

  Args:
    fixed: what every call must agree in. Of `data` only the fingerprints
      count, so that a data set may be moved.

  Raises:
    UserError: something differs; the message names both values.
  """
  plan = read_json(folder / PLAN_FILE)
  if plan is None:
    return {"format": FORMAT, "fixed": fixed, "systems": {}}
  if plan["format"] != FORMAT:
    raise UserError(
      f"{folder / PLAN_FILE} has format {plan['format']}, this version writes"
      f" {FORMAT}: give another --out"
    )

  def key(value):
    return value["fingerprint"] if isinstance(value, dict) else value

  def show(value) -> str:
    if not isinstance(value, dict):
      return repr(value)
    prints = {name: text[:12] for name, text in key(value).items()}
    return f"{value['path']} {prints}"

  differing = _differences(plan["fixed"], fixed, fixed, key=key, show=show)
  if differing:
    raise UserError(
      f"{folder} holds another comparison; give another --out, or undo"
      f"{differing}"
    )
  plan["fixed"] = fixed  # the data's path may be another
  return plan


def check_config(name: str, saved: dict[str, Any], config: Config) -> None:
  """Refuses a system's config that differs from the one in the plan.

  Args:
    saved: as `save_config` made it, in this version or an earlier one.

  Raises:
    UserError: naming every field that differs.
  """
  saved = saved | {"data.path": config.data.path}
  before, now = flatten(from_flat(saved)), flatten(config)
  differing = _differences(before, now, sorted(before.keys() | now.keys()))
  if differing:
    raise UserError(
      f"the config of {name} is not the plan's; give another --out, or undo"
      f"{differing}"
    )


def save_config(config: Config) -> dict[str, Any]:
  """Flattens a config for the plan, without the data's path, which may move."""
  flat = flatten(config)
  del flat["data.path"]
  return flat


def _differences(
  before, now, names, *, key=lambda value: value, show=repr
) -> str:
  """Returns a line for each name whose values differ."""
  return "".join(
    f"\n  {name}: was {show(before.get(name))}, is {show(now.get(name))}"
    for name in names
    if key(before.get(name)) != key(now.get(name))
  )


def steps_of(
  budget: Budget, config: Config, seconds_per_step: float | None
) -> int | None:
  """Steps of a full run; None where the speed must be measured first."""
  if budget.unit == "config":
    return config.steps
  if budget.unit == "steps":
    return int(budget.amount)
  if seconds_per_step is None:
    return None
  return max(MIN_STEPS, int(budget.amount / seconds_per_step))


def tuning_runs(
  name: str, steps: int, rates: Sequence[float], share: float
) -> list[Run]:
  """Plans a short run at seed 0 for each rate; none where there is one rate.

  Args:
    share: of a full run's steps.
  """
  if len(rates) == 1:
    return []
  short = max(MIN_STEPS, round(steps * share))
  return [Run(name, f"tune-{rate:g}", 0, short, rate) for rate in rates]


def next_rate(tried: Collection[float], best: float) -> float | None:
  """The rate to try next where the best one is an end of those tried.

  By ratio it is as far from that end as the end is from its neighbour.

  Returns:
    None where the best rate has neighbours on both sides.
  """
  rates = sorted(tried)
  if best == rates[0]:
    return float(f"{rates[0] ** 2 / rates[1]:.2g}")
  if best == rates[-1]:
    return float(f"{rates[-1] ** 2 / rates[-2]:.2g}")
  return None


def full_run(name: str, facts: dict[str, Any], seed: int) -> Run:
  """The run that is scored; at seed 0 the equal tuning run, if there is one."""
  same = not seed and facts["steps"] == facts.get("tuning_steps")
  label = f"tune-{facts['factor']:g}" if same else f"seed-{seed}"
  return Run(name, label, seed, facts["steps"], facts["factor"])


def options(run: Run, config: Config, data: Path) -> list[str]:
  """Returns the options of `item-jax train` for a run.

  Warm-up is the same fraction of the steps as in the config. A run is
  evaluated about `EVALUATIONS` times, always at its end, and is saved
  `CHECKPOINTS` times.
  """
  steps = run.steps
  warmup = round(steps * min(1.0, config.optim.warmup / config.steps))
  warmup = min(warmup, max(steps - 1, 0))  # of few steps it rounds to all
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
