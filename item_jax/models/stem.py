"""States what a network of images must give to stand before a transformer."""

from collections.abc import Callable
from typing import NamedTuple

from item_jax.models.passes import Pass


class Stem(NamedTuple):
  """A convolutional network up to its last features; functions are pure.

  init(key) -> params, those of the network by itself.
  grid(params, batch) -> float32 [B,side,side,C]. Batch norm takes its stored
    statistics, which no gradient moves. Rows without an image are arbitrary.
  """

  init: Callable
  grid: Callable
  side: int  # of the grid
  channels: int  # C
  cost: Pass  # of an image
