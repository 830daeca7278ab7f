"""Errors for users: their messages explain what to change."""

import operator
import os
from typing import Any

# Raised for a path given by the user that is missing or of another kind.
WRONG_PATHS = (
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
)


class UserError(ValueError):
  """Something that the user gave is wrong; the message names both sides."""


class NotFoundError(UserError, FileNotFoundError):
  """A path that the user gave leads nowhere."""


class AlreadyThereError(UserError, FileExistsError):
  """Something stands where the user wants something else written."""


def name_kind(value: Any) -> str:
  """Names what kind of thing came, for errors: "<dict>", or "None"."""
  return "None" if value is None else f"<{type(value).__name__}>"


def check_path(value: Any, name: str = "path") -> None:
  """Refuses what is no path, as None.

  Raises:
    UserError: it is none; the message says what kind of thing it is.
  """
  if not isinstance(value, (str, os.PathLike)):
    raise UserError(f"{name}={name_kind(value)}: expected a path")


def check_whole(name: str, value: Any, *, at_least: int) -> None:
  """Refuses what is no whole number, or is below `at_least`.

  Before any work: who needs the number says it late, and names neither.

  Raises:
    UserError: it is none.
  """
  try:
    good = operator.index(value) >= at_least
  except TypeError:
    good = False
  if not good:
    raise UserError(
      f"{name}={value!r}: expected a whole number from {at_least}"
    )
