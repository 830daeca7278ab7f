"""Learns how vectors are centred, whitened or weighted before a comparison.

A cosine is ruled by the few directions in which all vectors are long. Their
mean is taken off, and the principal directions of a training split are brought
to nearly the same length (Su et al. 2021), where validation says that it helps.
Where vectors are parts side by side, validation says what each of them counts.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.files import CorruptError, write_bytes

KINDS = ("none", "centred", "whitened", "weighted")
_ROWS = 2048  # at a time
_FIELDS = ("kind", "mean_D", "matrix_DE", "ridge", "scale_D", "shares")
_SIDE = "mean_of_"


@dataclass(frozen=True, eq=False)
class Transform:
  """A change of vectors of D values into unit vectors of E.

  kind: of `KINDS`. mean_D: float32, is taken off unit rows; None of "none".
  matrix_DE: float32, they are multiplied by; None unless "whitened". ridge:
  what it was made with. scale_D: float32, unit rows are multiplied by, value by
  value; None unless "weighted". shares: of each part in a cosine then. sides:
  the means of rows of another kind, by its name, to be taken off instead:
  vectors of an image alone lie elsewhere than those of image and title.
  """

  kind: str = "none"
  mean_D: np.ndarray | None = None
  matrix_DE: np.ndarray | None = None
  ridge: float = 0.0
  scale_D: np.ndarray | None = None
  shares: tuple[float, ...] | None = None
  sides: Mapping[str, np.ndarray] = field(default_factory=dict)

  def dims(self, width: int) -> int:
    """Returns E for vectors of `width` values; refuses a D that is another."""
    learnt_D = self.mean_D if self.scale_D is None else self.scale_D
    if learnt_D is not None and len(learnt_D) != width:
      raise UserError(
        f"the vectors have {width} values, their transform was learnt from"
        f" {len(learnt_D)}"
      )
    return width if self.matrix_DE is None else self.matrix_DE.shape[1]

  def apply(
    self, vectors_ND: np.ndarray, kind_N: Sequence[str] | None = None
  ) -> np.ndarray:
    """Transforms rows of any length, float32 [N, E], of unit length.

    A row of zeros, where nothing was there to embed, stays one.

    Args:
      kind_N: of each row, which of `sides` it is, if any; None: all are of the
        kind that it was learnt from.
    """
    out_NE = np.empty(
      (len(vectors_ND), self.dims(vectors_ND.shape[1])), np.float32
    )
    for first in range(0, len(vectors_ND), _ROWS):
      block_BD = unit(np.asarray(vectors_ND[first : first + _ROWS]))
      block_BE = block_BD
      if self.scale_D is not None:
        block_BE = block_BE * self.scale_D
      if self.mean_D is not None:
        kind_B = None if kind_N is None else kind_N[first : first + _ROWS]
        block_BE = block_BE - self._means(self.mean_D, kind_B)
      if self.matrix_DE is not None:
        block_BE = block_BE @ self.matrix_DE
      block_BE = np.where(block_BD.any(1, keepdims=True), block_BE, 0)
      out_NE[first : first + _ROWS] = unit(block_BE)
    return out_NE

  def _means(self, mean_D: np.ndarray, kind_B: Sequence[str] | None):
    """What is taken off each row, [B, D], or off all [D]."""
    if kind_B is None or not self.sides:
      return mean_D
    return np.stack([self.sides.get(kind, mean_D) for kind in kind_B])

  def save(self, path: str | os.PathLike) -> str:
    """Writes an .npz as a whole or not at all; returns its SHA-256."""
    file = io.BytesIO()
    given = {name: getattr(self, name) for name in _FIELDS}
    given |= {_SIDE + side: mean_D for side, mean_D in self.sides.items()}
    np.savez(file, **{k: v for k, v in given.items() if v is not None})
    write_bytes(Path(path), file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()

  def __str__(self) -> str:
    if self.shares is not None:
      return f"parts weighted {', '.join(f'{one:g}' for one in self.shares)}"
    if self.matrix_DE is None:
      return "as it is" if self.kind == "none" else self.kind
    return f"whitened to {self.matrix_DE.shape[1]} dims, ridge {self.ridge:g}"


def load(path: str | os.PathLike, hashed: str) -> Transform:
  """Reads what `Transform.save` wrote.

  Args:
    hashed: the SHA-256 that it returned.

  Raises:
    CorruptError: the file is another.
  """
  content = Path(path).read_bytes()
  if hashlib.sha256(content).hexdigest() != hashed:
    raise CorruptError(f"{path} was altered: its SHA-256 differs")
  with np.load(io.BytesIO(content), allow_pickle=False) as held:
    found: dict[str, Any] = {name: held[name] for name in held.files}
  shares = found.get("shares")
  return Transform(
    kind=str(found["kind"]),
    mean_D=found.get("mean_D"),
    matrix_DE=found.get("matrix_DE"),
    ridge=float(found["ridge"]),
    scale_D=found.get("scale_D"),
    shares=None if shares is None else tuple(shares.tolist()),
    sides={
      name.removeprefix(_SIDE): mean_D
      for name, mean_D in found.items()
      if name.startswith(_SIDE)
    },
  )


class Recipe(NamedTuple):
  """How a transform is made; `share` of the dimensions are kept."""

  kind: str
  share: float = 1.0
  ridge: float = 0.0


WHITEN = Recipe("whitened", ridge=0.1)  # where nothing can be tried
# The simplest first: of equal ones the first is taken.
GRID = (
  Recipe("none"),
  Recipe("centred"),
  *(
    Recipe("whitened", share, ridge)
    for share in (1.0, 0.5, 0.25)
    for ridge in (1.0, 1e-1, 1e-2, 1e-3)
  ),
)


class Spectrum(NamedTuple):
  """The mean of unit rows, and the variances along principal directions."""

  mean_D: np.ndarray
  variance_D: np.ndarray  # descending, float64
  directions_DD: np.ndarray  # columns; of these


def measure(vectors_ND: np.ndarray) -> Spectrum:
  """Measures the spectrum of rows; rows of zeros are passed over.

  There may be fewer rows than values.

  Raises:
    UserError: no other rows.
  """
  count, D = 0, vectors_ND.shape[1]
  total_D = np.zeros(D)
  for unit_BD in _unit_blocks(vectors_ND):
    count += len(unit_BD)
    total_D += unit_BD.sum(axis=0)
  if not count:
    raise UserError(
      f"none of {len(vectors_ND)} training rows has a vector to centre or"
      " whiten by"
    )
  mean_D, gram_DD = total_D / count, np.zeros((D, D))
  for unit_BD in _unit_blocks(vectors_ND):
    centred_BD = unit_BD - mean_D
    gram_DD += centred_BD.T @ centred_BD
  variance_D, directions_DD = np.linalg.eigh(gram_DD / count)
  # Rounding may leave a variance of nothing below zero.
  return Spectrum(mean_D, variance_D[::-1].clip(0), directions_DD[:, ::-1])


def _unit_blocks(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
  """Yields unit rows, float64, without rows of zeros."""
  for first in range(0, len(vectors_ND), _ROWS):
    unit_BD = unit(np.asarray(vectors_ND[first : first + _ROWS]))
    yield unit_BD[unit_BD.any(axis=1)].astype(np.float64)


def make(spectrum: Spectrum, recipe: Recipe) -> Transform:
  """Makes a transform, learnt from the rows whose spectrum it is.

  Whitening divides a principal direction by sqrt(variance + ridge * mean
  variance).
  """
  if recipe.kind == "none":
    return Transform()
  mean_D = spectrum.mean_D.astype(np.float32)
  total = spectrum.variance_D.sum()
  # Rows that are all the same have no direction to bring to another's length.
  if recipe.kind == "centred" or not total:
    return Transform("centred", mean_D)
  dims = max(1, int(recipe.share * len(mean_D)))
  scale_D = (spectrum.variance_D + recipe.ridge * total / len(mean_D)) ** -0.5
  matrix_DE = (spectrum.directions_DD * scale_D)[:, :dims].astype(np.float32)
  return Transform("whitened", mean_D, matrix_DE, recipe.ridge)


def fit(vectors_ND: np.ndarray, recipe: Recipe) -> Transform:
  """Learns a transform from rows [N, D]; rows of zeros are passed over.

  Raises:
    UserError: no other rows.
  """
  return make(measure(vectors_ND), recipe)


def fill(vectors_NE: np.ndarray) -> np.ndarray:
  """Puts the null embedding, which has a direction, in place of zeros."""
  null = np.float32(-(vectors_NE.shape[1] ** -0.5))
  return np.where(vectors_NE.any(axis=1, keepdims=True), vectors_NE, null)


def unit(vectors_ND: np.ndarray) -> np.ndarray:
  """Rows of unit length, float32; a row of zeros stays one."""
  vectors_ND = vectors_ND.astype(np.float32)
  # In float64: squares of float32 overflow and underflow.
  length_N = np.sqrt(
    np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64)
  )
  length_N[length_N == 0] = 1
  return (vectors_ND / length_N[:, None]).astype(np.float32)
