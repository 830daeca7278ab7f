"""Reads a frozen stem's features of a split's images from a file."""

from pathlib import Path

import numpy as np

from item_jax.data.images import BadImage


class Grids:
  """The features of row i of a split: grids[i]. Thread-safe; can be pickled.

  The file holds float16 [rows,side,side,C]; NaN stands first where the row
  could not be read, and zeros where it has no image.
  """

  def __init__(self, path: Path):
    self.path = path
    self._values = np.load(path, mmap_mode="r", allow_pickle=False)

  def __reduce__(self):
    return Grids, (self.path,)

  @property
  def shape(self) -> tuple[int, ...]:
    return self._values.shape

  def __getitem__(self, row: int) -> np.ndarray:
    """Reads the features of a row, float16 [side,side,C].

    Raises:
      BadImage: it could not be read when they were computed.
    """
    grid_HWC = np.array(self._values[row])
    if np.isnan(grid_HWC.flat[0]):
      raise BadImage(f"{self.path}: row {row} could not be read")
    return grid_HWC

  def empty(self) -> np.ndarray:
    """What stands for an image that is missing."""
    return np.zeros(self.shape[1:], np.float16)
