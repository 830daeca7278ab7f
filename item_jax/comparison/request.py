"""What was asked for in; a job out, in which every row, config and size is
settled and agrees with what the folder already holds."""

import argparse
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from item_jax import config_flags
from item_jax.comparison import plan as plan_lib
from item_jax.comparison import systems as systems_lib
from item_jax.comparison.plan import Budget
from item_jax.comparison.systems import Known, System
from item_jax.config import Config, flatten
from item_jax.config_check import validate
from item_jax.data.records import Store, open_store
from item_jax.errors import UserError
from item_jax.files import write_json

_NOTING = threading.Lock()  # systems are worked on side by side


class Request(NamedTuple):
  """The command, as typed."""

  data: Path
  out: Path
  systems: str = "all"
  config: str | None = None
  size: str = "tiny"
  seeds: int = 3
  budget: str | None = None
  rates: str = "0.3,1,3"
  tune_share: float = 0.25
  split: str = "test"
  jobs: int = 1  # systems trained side by side
  overrides: tuple[str, ...] = ()  # --config.NAME=VALUE, for every system
  command: str = ""  # as it is said in the report


class Job(NamedTuple):
  request: Request
  budget: Budget
  rates: tuple[float, ...]
  known: Known
  rows: tuple[System, ...]
  configs: dict[str, Config]  # of the trained rows
  learnt: tuple[str, str]  # the splits of training and of validation
  store: Store
  plan: dict  # as in plan.json; grows

  @property
  def out(self) -> Path:
    return self.request.out

  def facts(self, name: str) -> dict:
    """What is settled of a trained system."""
    return self.plan["systems"][name]

  def flag(self, name: str) -> str:
    """Its `--config`."""
    return f"{self.known.path}:{name},{self.request.size}"

  def note(self, name: str, **facts) -> None:
    """Settles something of a system, on disk."""
    with _NOTING:
      self.plan["systems"][name] |= facts
      write_json(self.out / plan_lib.PLAN_FILE, self.plan)

  @property
  def categorised(self) -> bool:
    return self.store.catalogue["categories"]["leaves"] > 1


def settle(request: Request, describe: Callable) -> Job:
  """Reads, checks and describes everything; writes nothing.

  Args:
    describe: as `item_jax.comparison.describe.describe`.

  Raises:
    UserError: what cannot work, or is not what the folder was begun with.
  """
  if request.seeds < 1:
    raise UserError(f"seeds={request.seeds}: at least 1 is needed")
  if request.jobs < 1:
    raise UserError(f"jobs={request.jobs}: at least 1 is needed")
  if not 0 < request.tune_share <= 1:
    raise UserError(
      f"tune_share={request.tune_share}: must be a share above 0, at most 1"
    )
  budget = plan_lib.parse_budget(request.budget)
  rates = plan_lib.parse_rates(request.rates)
  _check_overrides(request.overrides)
  names, path = request.systems, request.config
  if names == "ablation":
    names = "all"
    path = path or systems_lib.find_config(systems_lib.ABLATION)
  path = path or systems_lib.find_config(systems_lib.COMPARISON)
  known = systems_lib.read_known(path)
  rows = systems_lib.choose(names, known)
  plan = plan_lib.open_plan(
    request.out,
    {
      "data": plan_lib.describe_data(request.data, request.split),
      "config": Path(path).name,
      "size": request.size,
      "budget": budget.text,
      "rates": list(rates),
      "tune_share": request.tune_share,
      "split": request.split,
      "jobs": request.jobs,  # a share of the machine is another machine
      "overrides": list(request.overrides),
      "fusions": [[name, *parts] for name, parts in known.fusions.items()],
    },
  )
  configs = {
    row.name: config_flags.parse(
      f"{path}:{row.name},{request.size}", list(request.overrides)
    )
    for row in rows
    if row.kind == "trained"
  }
  _check_configs(configs, request.data)
  # Of what is not trained the category is learnt as of the system that the
  # others are held against.
  untaught = config_flags.parse(
    f"{path}:{known.base},{request.size}", list(request.overrides)
  )
  _check_split(request.split, [*configs.values(), untaught])
  first = next(iter(configs.values()), untaught).data
  rows = _join_equal(rows, configs)
  configs = {r.name: configs[r.name] for r in rows if r.kind == "trained"}
  store = open_store(request.data)
  if len(rates) > 1 and configs:
    _check_validation(store, configs)
  _describe(plan, configs, describe, request.data)
  return Job(
    request,
    budget,
    rates,
    known,
    rows,
    configs,
    (first.train_split, first.val_split),
    store,
    plan,
  )


def _check_overrides(overrides) -> None:
  """Refuses what is not an option of a config, or is not the user's to set."""
  parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  for name in plan_lib.SET:
    parser.add_argument(f"--config.{name}", dest=name)
  for word in overrides:
    if not word.startswith("--config."):
      raise UserError(f"unknown argument: {word}")
  taken, _ = parser.parse_known_args(list(overrides))
  taken = [name for name, value in vars(taken).items() if value is not None]
  if taken:
    raise UserError(
      f"{', '.join(taken)}: compare sets these by --data, --seeds, --budget"
      " and --rates"
    )


def _check_configs(configs, data: Path) -> None:
  """What cannot be trained is said before hours of training another one."""
  for name, config in configs.items():
    config.data.path = str(data)
    devices = max(1, config.mesh.data) * max(1, config.mesh.fsdp)  # at least
    try:
      if not config.steps:
        raise UserError("steps=0 trains nothing, so no budget is the same")
      validate(config, devices=devices)
    except UserError as error:
      raise UserError(f"{name}: {error}") from error


def _check_split(split: str, configs) -> None:
  """What is trained on or chosen by must not be scored."""
  for config in configs:
    taken = {
      config.data.train_split: "training reads",
      config.data.val_split: "learning rates and checkpoints are chosen by",
    }
    if split in taken:
      raise UserError(
        f"split={split!r} is what {taken[split]} too (train_split"
        f" {config.data.train_split!r}, val_split {config.data.val_split!r}):"
        " score another one"
      )


def _join_equal(rows, configs) -> tuple[System, ...]:
  """Rows whose config is that of a row before are "same" as it."""
  first, joined = {}, []
  for row in rows:
    if row.kind == "trained":
      key = tuple(sorted(flatten(configs[row.name]).items()))
      before = first.setdefault(key, row.name)
      if before != row.name:
        row = row._replace(kind="same", parts=(before,))
    joined.append(row)
  return tuple(joined)


def _check_validation(store: Store, configs) -> None:
  """Rates are chosen by search on validation, which needs pairs."""
  counted = store.catalogue["products"]
  for split in {config.data.val_split for config in configs.values()}:
    if counted.get(split) == store.sizes.get(split):
      raise UserError(
        f"no product of split {split!r} has two listings: there is nothing to"
        " choose a learning rate by; give one, as --rates=1"
      )


def _describe(plan: dict, configs, describe: Callable, data) -> None:
  """Checks known systems against the plan, adds the new ones to it."""
  new = {}
  for name, config in configs.items():
    # As JSON has it.
    flat = {k: v for k, v in flatten(config).items() if k != "data.path"}
    if name in plan["systems"]:
      plan_lib.check_config(name, plan["systems"][name]["config"], flat)
    else:
      plan["systems"][name] = {"config": flat}
      new[name] = config
  if new:
    for name, facts in describe(new, data).items():
      plan["systems"][name] |= facts
