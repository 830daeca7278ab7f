"""Takes one value where several may be given."""

import os
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from item_jax.errors import UserError

T = TypeVar("T")


def as_list(given: T | Iterable[T], name: str = "value") -> list[T]:
  """Returns what is given as a list: a name, a path or a number is one.

  A string is a sequence to Python too, of its letters.

  Args:
    name: of the argument, for errors.

  Raises:
    UserError: it is neither one nor several, as None.
  """
  one = isinstance(given, (str, os.PathLike)) or np.isscalar(given)
  if not one and not isinstance(given, Iterable):
    raise UserError(f"{name}={given!r}: expected one, or a list of several")
  return [given] if one else list(given)  # pyright: ignore
