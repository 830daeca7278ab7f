"""Takes one value where several may be given."""

import os
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def as_list(given: T | Iterable[T]) -> list[T]:
  """Returns what is given as a list: a name, a path or a number is one.

  A string is a sequence to Python too, of its letters.
  """
  one = isinstance(given, (str, os.PathLike)) or np.isscalar(given)
  return [given] if one else list(given)  # pyright: ignore
