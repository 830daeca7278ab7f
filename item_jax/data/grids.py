"""Reads a frozen stem's features of a split's images from a file."""

import zlib
from pathlib import Path

import numpy as np

from item_jax.data.images import BadImage
from item_jax.files import write_bytes


def sums_path(path: Path) -> Path:
  """Where the checksums of a file of features are: uint32, a CRC-32 a row."""
  return path.with_suffix(".crc32")


def write_sums(path: Path, values: np.ndarray) -> None:
  """Writes the checksums of the rows that the file at `path` is to hold."""
  sums = np.fromiter(map(zlib.crc32, values), np.uint32, len(values))
  write_bytes(sums_path(path), sums.tobytes())


class Grids:
  """The features of row i of a split: grids[i]. Thread-safe; can be pickled.

  The file holds float16 [rows,side,side,C]; NaN stands first where the row
  could not be read, and zeros where it has no image. Each row has a checksum.
  """

  def __init__(self, path: Path):
    self.path = path
    self._values = np.load(path, mmap_mode="r", allow_pickle=False)
    self._sums = np.frombuffer(sums_path(path).read_bytes(), np.uint32)
    if len(self._sums) != len(self._values):
      raise ValueError(f"it has {len(self._sums)} checksums")

  def __reduce__(self):
    return Grids, (self.path,)

  @property
  def shape(self) -> tuple[int, ...]:
    return self._values.shape

  def __getitem__(self, row: int) -> np.ndarray:
    """Reads the features of a row, float16 [side,side,C].

    Raises:
      BadImage: it could not be read when they were computed, or was altered
        since.
    """
    grid_HWC = np.array(self._values[row])
    if zlib.crc32(grid_HWC.data) != self._sums[row]:
      raise BadImage(
        f"{self.path}: row {row} was altered; without the file the features"
        " are computed again"
      )
    if np.isnan(grid_HWC.flat[0]):
      raise BadImage(f"{self.path}: row {row} could not be read")
    return grid_HWC

  def empty(self) -> np.ndarray:
    """What stands for an image that is missing."""
    return np.zeros(self.shape[1:], np.float16)
