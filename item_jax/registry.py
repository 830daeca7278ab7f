"""Looks up objects by a short name or a dotted path, and modules of extras."""

import importlib
from collections.abc import Mapping
from typing import Any

from item_jax.errors import UserError


def look_up(name: str, known: Mapping[str, Any], *, option: str) -> Any:
  """Returns the object that a name stands for.

  Args:
    name: one of `known`, or "package.module:NAME" for an object of any package
      that Python can import.
    known: {short name: object}.
    option: the flag or field that the name was given to, for errors.

  Raises:
    UserError: there is no such name, module or object.
  """
  if name in known:
    return known[name]
  module, colon, attribute = name.partition(":")
  if not colon or not module:
    raise UserError(
      f"{option}={name}: expected one of {', '.join(known)}, or"
      " package.module:NAME"
    )
  try:
    found = importlib.import_module(module)
  except ImportError as error:
    hint = ""
    if isinstance(error, ModuleNotFoundError):
      hint = "; is its package installed, or its folder in PYTHONPATH?"
    raise UserError(f"{option}={name}: {error}{hint}") from error
  if not hasattr(found, attribute):
    raise UserError(f"{option}={name}: {module} has no {attribute}")
  return getattr(found, attribute)


def import_extra(module: str, what: str, extra: str) -> Any:
  """Imports a module that only an extra of item-jax brings.

  Raises:
    UserError: it is not installed; says `what` takes it, and which extra.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise UserError(
      f"{what}: pip install -e '.[{extra}]' in item-jax's clone"
    ) from error
