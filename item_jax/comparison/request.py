"""Turns a request into a job: every row, config and size settled and checked.

What a job says agrees with what the comparison's folder already holds.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from item_jax import config_flags
from item_jax.comparison import plan as plan_lib
from item_jax.comparison import systems as systems_lib
from item_jax.comparison.describe import describe as describe_by_shapes
from item_jax.comparison.files import PLAN_FILE
from item_jax.comparison.plan import Budget
from item_jax.comparison.systems import AvailableSystems, System
from item_jax.config import Config, flatten
from item_jax.config_check import validate
from item_jax.data.records import Dataset, open_dataset
from item_jax.errors import UserError, check_whole
from item_jax.files import write_json

Describe = Callable[[Mapping[str, Config], Path], dict[str, dict]]
_PLAN_LOCK = threading.Lock()  # systems are trained side by side


class Request(NamedTuple):
  """What to compare, as the command line has it."""

  data: Path
  out: Path
  systems: str = "all"
  config: str | None = None
  size: str = "tiny"
  seeds: int = 3
  budget: str | None = None
  rates: str = "0.3,1,3"
  tune_share: float = 0.25  # of the steps, for each tuning run
  split: str = "test"
  jobs: int = 1  # systems trained side by side
  overrides: tuple[str, ...] = ()  # --config.NAME=VALUE, for every system
  image_weights: Path | None = None  # of another project, a file or folder
  text_weights: Path | None = None
  command: str = ""  # as the report shows it

  @property
  def weights(self) -> list[str]:
    """The names of the weights that there are."""
    return [name for name in systems_lib.WEIGHTS if getattr(self, name)]


def _refuse(*commands: Sequence, log: Path) -> int:
  raise RuntimeError(f"a job that only reads must not run {commands}")


class Job(NamedTuple):
  """A request with everything settled."""

  request: Request
  budget: Budget
  rates: tuple[float, ...]
  available: AvailableSystems
  rows: tuple[System, ...]
  configs: dict[str, Config]  # of the trained rows
  # {flags: systems that need the weights which they would name}
  left_out: dict[str, list[str]]
  learning_splits: tuple[str, str]  # of training and of validation
  store: Dataset
  plan: dict[str, Any]  # as in plan.json; grows
  # Runs commands, as `item_jax.comparison.subprocesses.Commands` does.
  execute: Callable[..., int] = _refuse

  @property
  def out(self) -> Path:
    """The comparison's folder."""
    return self.request.out

  @property
  def has_categories(self) -> bool:
    """Whether the catalogue has categories to tell apart."""
    return self.store.catalogue["categories"]["leaves"] > 1

  def seed_folder(self, name: str, seed: int) -> Path:
    """The folder with the scores of a row at a seed."""
    return self.out / "runs" / name / f"seed-{seed}"

  def facts(self, name: str) -> dict[str, Any]:
    """What the plan holds of a trained or frozen system."""
    return self.plan["systems"][name]

  def flag(self, name: str) -> str:
    """The `--config` of a trained or frozen system."""
    return f"{self.available.path}:{name},{self.request.size}"

  def options(self, name: str) -> list[str]:
    """The `--config.NAME=VALUE`s of a system, whatever its run."""
    return _options(self.request, self.available, name)

  def record(self, name: str, **facts) -> None:
    """Adds facts of a system to the plan, and writes the plan to disk."""
    with _PLAN_LOCK:
      self.facts(name).update(facts)
      self.write_plan()

  def write_plan(self) -> None:
    """Writes the plan to the comparison's folder."""
    write_json(self.out / PLAN_FILE, self.plan)


def make_job(request: Request, describe: Describe = describe_by_shapes) -> Job:
  """Reads, checks and describes everything; writes nothing.

  Args:
    describe: gives the parameters and the work of configs.

  Raises:
    UserError: something cannot work, or differs from what the folder holds.
  """
  for name in ("seeds", "jobs"):
    check_whole(name, getattr(request, name), at_least=1)
  if not 0 < request.tune_share <= 1:
    raise UserError(
      f"tune_share={request.tune_share}: must be a fraction above 0, at most 1"
    )
  budget = plan_lib.parse_budget(request.budget)
  rates = plan_lib.parse_rates(request.rates)
  _check_overrides(request.overrides)
  names, file = request.systems, systems_lib.COMPARISON
  if names == "ablation":
    names, file = "all", systems_lib.ABLATION
  available = systems_lib.read_available(
    request.config or systems_lib.find_config(file)
  )
  rows = systems_lib.choose(names, available, request.weights)
  fixed = {
    "data": plan_lib.describe_data(request.data, request.split),
    "config": Path(available.path).name,
    "size": request.size,
    "budget": budget.text,
    "rates": list(rates),
    "tune_share": request.tune_share,
    "split": request.split,
    "jobs": request.jobs,  # each has only a part of the machine
    "overrides": list(request.overrides),
    "fusions": [[name, *parts] for name, parts in available.fusions.items()],
  }
  plan = plan_lib.open_plan(request.out, fixed)

  def parse(name: str) -> Config:
    config = config_flags.parse(
      f"{available.path}:{name},{request.size}",
      _options(request, available, name),
    )
    config.data.path = str(request.data)
    return config

  configs = {row.name: parse(row.name) for row in rows if row.kind == "trained"}
  frozen = {row.name: parse(row.name) for row in rows if row.kind == "frozen"}
  _check_configs(configs)
  # Rows that are not trained learn the category on the splits of the base.
  base = parse(available.base)
  _check_split(request.split, [*configs.values(), base])
  splits = next(iter(configs.values()), base).data
  rows = _join_equal(rows, configs)
  configs = {r.name: configs[r.name] for r in rows if r.kind == "trained"}
  store = open_dataset(request.data)
  if len(rates) > 1 and configs:
    _check_validation(store, configs)
  _add_to_plan(plan, configs | frozen, describe, request.data)
  return Job(
    request,
    budget,
    rates,
    available,
    rows,
    configs,
    systems_lib.left_out(names, available, request.weights),
    (splits.train_split, splits.val_split),
    store,
    plan,
  )


def _options(
  request: Request, available: AvailableSystems, name: str
) -> list[str]:
  """The options of a system: those of all, and its weights.

  Of the options of all, what is frozen takes those of the data: the others are
  the weights'.
  """
  options = list(request.overrides)
  if name in available.frozen:
    options = [one for one in options if one.startswith("--config.data.")]
  if name in available.weights:
    flag, names = available.weights[name]
    options += [f"--config.{one}={getattr(request, flag)}" for one in names]
  return options


def _check_overrides(overrides: Iterable[str]) -> None:
  """Refuses what is no option of a config, and what `plan.options` sets."""
  for argument in overrides:
    if not argument.startswith("--config."):
      raise UserError(f"unknown argument: {argument}")
  names = [argument.partition("=")[0] for argument in overrides]
  reserved = [n for n in plan_lib.RESERVED if f"--config.{n}" in names]
  if reserved:
    raise UserError(
      f"{', '.join(reserved)}: compare sets these by --data, --seeds, --budget"
      " and --rates"
    )


def _check_configs(configs: Mapping[str, Config]) -> None:
  """Refuses what cannot be trained before anything else is trained."""
  for name, config in configs.items():
    devices = max(1, config.mesh.data) * max(1, config.mesh.fsdp)  # at least
    try:
      if not config.steps:
        raise UserError("steps=0 trains nothing, so no budget is the same")
      validate(config, devices=devices)
    except UserError as error:
      raise UserError(f"{name}: {error}") from error


def _check_split(split: str, configs: Iterable[Config]) -> None:
  """Refuses to score a split that is trained on or used for choices."""
  for config in configs:
    uses = {
      config.data.train_split: "training reads",
      config.data.val_split: "learning rates and checkpoints are chosen by",
    }
    if split in uses:
      raise UserError(
        f"split={split!r} is what {uses[split]} too (train_split"
        f" {config.data.train_split!r}, val_split {config.data.val_split!r}):"
        " score another one"
      )


def _join_equal(
  rows: Iterable[System], configs: Mapping[str, Config]
) -> tuple[System, ...]:
  """Makes rows whose config equals that of an earlier row "same" as it."""
  first, same, joined = {}, {}, []
  for row in rows:
    if row.kind == "trained":
      key = json.dumps(flatten(configs[row.name]), sort_keys=True)
      earlier = first.setdefault(key, row.name)
      if earlier != row.name:
        same[row.name] = earlier
        row = row._replace(kind="same", parts=(earlier,))
    joined.append(
      row._replace(parts=tuple(same.get(part, part) for part in row.parts))
    )
  return tuple(joined)


def _check_validation(store: Dataset, configs: Mapping[str, Config]) -> None:
  """Refuses validation splits without pairs: rates are chosen by search."""
  products = store.catalogue["products"]
  for split in {config.data.val_split for config in configs.values()}:
    if products.get(split) == store.sizes.get(split):
      raise UserError(
        f"no product of split {split!r} has two listings: there is nothing to"
        " choose a learning rate by; give one, as --rates=1"
      )


def _add_to_plan(
  plan: dict, configs: Mapping[str, Config], describe: Describe, data: Path
) -> None:
  """Checks the plan's systems against their configs, and adds new systems."""
  systems = plan["systems"]
  new = {}
  for name, config in configs.items():
    if name in systems:
      plan_lib.check_config(name, systems[name]["config"], config)
    else:
      systems[name] = {"config": plan_lib.save_config(config)}
      new[name] = config
  for name, facts in (describe(new, data) if new else {}).items():
    systems[name] |= facts
