"""Reads a config file and overrides of its options from flags."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from item_jax.config import Config, flatten
from item_jax.config_group import RENAMED, present_name
from item_jax.errors import NotFoundError, UserError, check_path
from item_jax.remote import check_local

_TUPLES = [x.name for x in dataclasses.fields(Config) if x.type is tuple]
# The config files of a checkout; an installed package comes without them.
CONFIGS = Path(__file__).parents[1] / "configs"
# Options that may be an address on an object store.
ADDRESSES = ("data.path", "start_from")


def parse(config: str | None, overrides: list[str]) -> Config:
  """Makes the Config of `FILE[:VARIANT]` and `--config.optim.lr=1e-4`s.

  FILE may be the name of a file in configs/ of this source, as `item_tiny`.
  Values are parsed by the field's type; an unknown field is a UserError. The
  strings of a tuple are joined by commas: `--config.objectives=a.b:c,d.e:f`.
  An option of `extra` is one that the config file has set.
  """
  if config is None:
    raise UserError("--config=FILE[:VARIANT] is needed")
  name, colon, variant = config.partition(":")
  if not name.endswith(".py") and not Path(name).exists():
    config = f"{CONFIGS / name}.py{colon}{variant}"
  file = config.partition(".py:")[0] + (".py" if ".py:" in config else "")
  if not Path(file).is_file():
    theirs = CONFIGS / Path(file).name
    known = f"; there is {theirs}" if theirs.is_file() else ""
    raise NotFoundError(f"no config file {file}{known}")
  argv = ["item-jax", f"--config={config}", *map(_present, overrides)]
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file(
    "config", flag_values=values, lock_config=False, sys_argv=argv
  )
  try:
    left = values(argv)
  except KeyError as error:
    reason = _no_such_option(config, overrides, str(error.args[0]))
    raise UserError(reason) from error
  except flags.Error as error:
    if ":" in config and _takes_no_variant(error):
      file, _, variant = config.rpartition(":")
      raise UserError(f"{file} has no variants, {variant!r} among them") from (
        error
      )
    if reason := _refusal(error):
      raise UserError(f"config {config}: {reason}") from error
    raise UserError(_no_group(overrides) or str(error)) from error
  except (SyntaxError, OSError) as error:
    raise UserError(f"config {config}: {error}") from error
  if left[1:]:
    raise UserError(f"unknown arguments: {' '.join(left[1:])}")
  if not isinstance(holder.value, Config):
    raise UserError(
      f"{config}: get_config() gave a {type(holder.value).__name__}, not an"
      " item_jax.config.Config"
    )
  for name, option in flatten(holder.value).items():
    if isinstance(option, str) and name not in ADDRESSES:
      check_local(option)
  return holder.value


def _present(override: str) -> str:
  """Turns `--config.FORMER_NAME=...` into the option's present name."""
  flag, equals, value = override.partition("=")
  start, _, name = flag.partition("config.")
  if start in ("--", "-", "--no", "-no") and name in RENAMED:
    return f"{start}config.{present_name(name)}{equals}{value}"
  if name in _TUPLES and not value.startswith(("(", "[")):
    return f"{flag}{equals}{tuple(filter(None, value.split(',')))!r}"
  return override


def _no_such_option(config: str, overrides: list[str], reason: str) -> str:
  """Names the option that a Config has not, and those of its group."""
  known = flatten(parse(config, []))
  for override in overrides:
    name = override.partition("=")[0].partition("config.")[2]
    name = RENAMED.get(name, name)
    group = name.rpartition(".")[0]
    if name and name not in known:
      beside = [n for n in known if n.rpartition(".")[0] == group]
      if group.startswith("extra"):
        return (
          f"no such option: {name}; a flag changes what the config file has set"
          f" in {group}: {', '.join(beside) or 'nothing'}"
        )
      return f"no such option: {name}; there are {', '.join(beside or known)}"
  return f"no such option: {reason}"


def _no_group(overrides: list[str]) -> str:
  """Says of a group that was given one value that it is a group; or ""."""
  for override in overrides:
    name = override.partition("=")[0].partition("config.")[2]
    inside = [n for n in flatten(Config()) if n.startswith(f"{name}.")]
    if name and inside:
      return f"{name} is a group, expected its options: {', '.join(inside)}"
  return ""


def _refusal(error: BaseException | None) -> str:
  """Returns the UserError's text that a config file itself raised; or ""."""
  found = ""
  while error := error and error.__context__:
    found = str(error) if isinstance(error, UserError) else found
  return found


def _takes_no_variant(error: flags.Error) -> bool:
  return "get_config() takes 0 positional arguments" in str(error)


def load_config(file: str | os.PathLike, **overrides: Any) -> Config:
  """Reads a config file and overrides some of its options.

  Args:
    file: a path, or "FILE.py:VARIANT"; or the name of a file in configs/ of
      this project's source, as "item_tiny".
    overrides: values by name, with two underscores for a dot:
      `load_config("my.py", steps=100, optim__lr=1e-4)`.

  Raises:
    UserError: no such file or option, or a value of another type, as None.
  """
  check_path(file, "config")
  defaults = flatten(Config())
  for option in (name for name, value in overrides.items() if value is None):
    advice = "leave it away for the config file's value"
    default = defaults.get(option.replace("__", "."))
    if default == "":
      advice += ", or give '' for none"
    elif isinstance(default, list):
      advice += ", or give () for none"
    raise UserError(f"{option}=None: {advice}")
  for option in (name.replace(".", "__") for name in ADDRESSES):
    if option in overrides:  # a run's or a data set's text is no path
      check_path(overrides[option], option)
  return parse(
    os.fspath(file),
    [
      f"--config.{option.replace('__', '.')}={value}"
      for option, value in overrides.items()
    ],
  )
