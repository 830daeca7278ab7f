"""Errors for users: their messages explain what to change."""

import operator
import os
import sys
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


class NotFiniteError(UserError):
  """A model computes NaN or infinity: its training diverged."""


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


def check_utf8(path: str | os.PathLike) -> None:
  """Refuses a path that what is written in C++ does not find.

  array_record, orbax and others take each path as UTF-8, in any locale.

  Raises:
    UserError: the path's bytes on the disk are not its UTF-8.
  """
  path, why = os.path.abspath(path), "rename that folder"
  try:
    if os.fsencode(path) == path.encode():
      return
  except UnicodeEncodeError:
    pass
  if (encoding := sys.getfilesystemencoding()) != "utf-8":
    why = f"names are {encoding} in this locale: set PYTHONUTF8=1"
  raise UserError(f"{path!r}: expected a path in UTF-8; {why}")


def check_whole(name: str, value: Any, *, at_least: int) -> int:
  """Returns a whole number as an int; refuses all else, and what is too small.

  Before any work: who needs the number says it late, and names neither.

  Raises:
    UserError: it is none, or is below `at_least`.
  """
  try:
    whole = operator.index(value)
  except TypeError:
    whole = at_least - 1
  if whole < at_least:
    raise UserError(
      f"{name}={value!r}: expected a whole number from {at_least}"
    )
  return whole


def check_fraction(name: str, value: Any) -> None:
  """Refuses what is no number from 0 to 1.

  Raises:
    UserError: it is none.
  """
  try:
    good = 0 <= value <= 1
  except TypeError:
    good = False
  if not good:
    raise UserError(f"{name}={value!r}: expected a fraction from 0 to 1")
