"""Opens and checks embeddings: an array or an .npy file of them, or Mixed."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import NotFoundError, UserError

_ROWS = 2_048  # looked at at a time
_HEADER = 10_000  # bytes of an .npy's; the most that numpy reads
_BFLOAT16 = re.compile(rb"'descr': *'<V2'")  # what an .npy calls it


@dataclass(frozen=True, eq=False)
class Mixed:
  """N rows, each of some dense values and of many that are mostly zero.

  dense_ND: float32; D may be 0. sparse_NV: float, in rows. Both together are of
  unit length, or zero: such a row has a cosine of zero with all others.
  words: what the V columns count, where it is known.
  """

  dense_ND: np.ndarray
  sparse_NV: Any  # scipy.sparse.csr_array
  words: Sequence[str] | None = None

  def __len__(self) -> int:
    return len(self.dense_ND)

  def __getitem__(self, rows: Any) -> "Mixed":
    """Takes some rows: a slice or row numbers."""
    return Mixed(self.dense_ND[rows], self.sparse_NV[rows], self.words)

  @property
  def shape(self) -> tuple[int, int]:
    """N and D + V."""
    return len(self), self.dense_ND.shape[1] + self.sparse_NV.shape[1]


def make_sparse(sparse_NV: Any, words: Sequence[str] | None = None) -> Mixed:
  """Makes `Mixed` of sparse rows alone, of unit length or zero."""
  dense_N0 = np.zeros((sparse_NV.shape[0], 0), np.float32)
  return Mixed(dense_N0, sparse_NV, words)


def to_dense(vectors: np.ndarray | Mixed, rows: np.ndarray) -> np.ndarray:
  """Takes a few rows, float [R, D]; of sparse columns those that they use."""
  if not isinstance(vectors, Mixed):
    return vectors[rows]
  part = vectors[rows]
  used = np.unique(part.sparse_NV.indices)
  return np.hstack([part.dense_ND, part.sparse_NV[:, used].toarray()])


def as_vectors(vectors: Any, ids: Sequence[str]) -> np.ndarray | Mixed:
  """Returns checked embeddings, one row an id.

  Args:
    vectors: an array of floats, one of scipy that is sparse, a list of rows,
      an .npy's path, or `Mixed`.

  Returns:
    float [N, D], or `Mixed`.

  Raises:
    UserError: as `open_embeddings` and `check_embeddings`.
  """
  if isinstance(vectors, (str, os.PathLike)):
    return open_embeddings(Path(vectors), ids)
  if hasattr(vectors, "tocsr"):  # of scipy
    vectors = make_sparse(_unit_rows(vectors.tocsr()))
  if isinstance(vectors, Mixed):
    if len(vectors) != len(ids):
      raise UserError(
        f"embeddings have {len(vectors)} rows, but there are {len(ids)} items"
      )
    return vectors
  if np.ma.is_masked(vectors):
    raise UserError(
      "embeddings are an array of which values are masked; expected all of"
      " them, as x.filled(0) has"
    )
  kind = type(vectors).__name__
  try:
    vectors_ND = np.asarray(vectors)
  except ValueError as error:
    raise UserError(
      f"embeddings are a {kind} of rows of several lengths ({error}); expected"
      " an array [N, D]"
    ) from error
  except (TypeError, RuntimeError) as error:  # of torch: with a gradient, ...
    raise UserError(
      f"embeddings are a {kind} that numpy cannot read ({error}); expected an"
      " array [N, D]"
    ) from error
  if vectors_ND.dtype == object and not vectors_ND.ndim:
    own = ", as its .vectors are" if hasattr(vectors, "vectors") else ""
    raise UserError(f"embeddings are a {kind}; expected an array [N, D]{own}")
  if not hasattr(vectors, "dtype") and vectors_ND.dtype.kind in "iu":
    vectors_ND = vectors_ND.astype(np.float64)  # a list of whole numbers
  check_embeddings(vectors_ND, ids)
  return vectors_ND


def all_same(vectors: np.ndarray | Mixed) -> bool:
  """Whether three rows or more are one vector: ids alone would rank them."""
  if isinstance(vectors, Mixed):
    sparse_NV = vectors.sparse_NV
    return all_same(vectors.dense_ND) and not (
      # Of no column, too, is the largest 0.
      sparse_NV.nnz and abs(sparse_NV - sparse_NV[[0] * len(vectors)]).max()
    )
  return len(vectors) > 2 and all(
    (vectors[first : first + _ROWS] == vectors[0]).all()
    for first in range(0, len(vectors), _ROWS)
  )


def check_differ(vectors: np.ndarray | Mixed, source: str) -> None:
  """Refuses rows that are one vector.

  Raises:
    UserError: they are.
  """
  if all_same(vectors):
    raise UserError(
      f"{source}: all {len(vectors):,} rows are one vector, as where no listing"
      " has the side that was embedded: only their ids would rank them"
    )


def _unit_rows(sparse_NV: Any) -> Any:
  """Sparse rows at unit length, float64 [N, V]; a row of zeros stays one."""
  import scipy.sparse

  sparse_NV = scipy.sparse.csr_array(sparse_NV).astype(np.float64)  # a copy
  sparse_NV.sum_duplicates()  # of a place that is given several times
  row_P = np.repeat(np.arange(sparse_NV.shape[0]), np.diff(sparse_NV.indptr))
  if not np.isfinite(sparse_NV.data).all():
    row = row_P[~np.isfinite(sparse_NV.data)][0]
    raise UserError(f"embeddings: row {row} is not finite")
  largest_N = np.zeros(sparse_NV.shape[0])
  np.maximum.at(largest_N, row_P, np.abs(sparse_NV.data))
  # By it first, whose square may be beyond float64.
  sparse_NV.data /= np.where(largest_N > 0, largest_N, 1)[row_P]
  square_N = sparse_NV.power(2).sum(axis=1)
  sparse_NV.data /= np.sqrt(np.where(square_N > 0, square_N, 1))[row_P]
  return sparse_NV


def open_embeddings(path: Path, ids: Sequence[str]) -> np.ndarray:
  """Maps an .npy of one float row an id; its values are checked by the search.

  numpy has no bfloat16 and writes it as two bytes of no kind, "<V2". Nothing
  else is written so (its own two bytes are "|V2"), and it is read as bfloat16.

  Returns:
    float [N, D], on disk until it is read.

  Raises:
    UserError: not an .npy, an object array, other shape, type or row count.
  """
  try:
    header = _check_header(path)
    vectors_ND = np.load(path, mmap_mode="r", allow_pickle=False)
  except FileNotFoundError as error:
    raise NotFoundError(f"{path}: there is no such file") from error
  except IsADirectoryError as error:
    raise UserError(
      f"{path} is a folder; expected an .npy file, as an export's"
      " embeddings.npy is"
    ) from error
  except (ValueError, EOFError, OverflowError) as error:
    raise UserError(f"{path} is not a plain .npy array: {error}") from error
  if not isinstance(vectors_ND, np.ndarray):
    raise UserError(f"{path} is an archive of arrays; expected one .npy array")
  if _BFLOAT16.search(header):
    import ml_dtypes

    vectors_ND = vectors_ND.view(ml_dtypes.bfloat16)
  check_embeddings(vectors_ND, ids, path)
  return vectors_ND


def _check_header(path: Path) -> bytes:
  """Returns an .npy's header; refuses one that claims more than numpy reads.

  numpy would take as much memory as the header claims.
  """
  with open(path, "rb") as file:
    start = file.read(_HEADER)
  if not start.startswith((b"\x93NUMPY", b"PK")):  # numpy calls it pickled
    raise ValueError(f"it begins with {start[:6]!r}")
  field = start[8:10] if start[6:7] == b"\x01" else start[8:12]
  length = int.from_bytes(field, "little")
  if start[:1] == b"\x93" and length > _HEADER:
    raise ValueError(f"its header claims {length:,} bytes")
  return start[: length + 12]


def check_embeddings(
  vectors_ND: np.ndarray, ids: Sequence[str], source: Path | str = "embeddings"
) -> None:
  """Refuses what is not one row of float values for each id."""
  if vectors_ND.ndim != 2 or not vectors_ND.shape[1]:
    raise UserError(
      f"{source} has shape {vectors_ND.shape}; expected one row of values for"
      f" each of {len(ids)} items"
    )
  dtype = vectors_ND.dtype
  # ml_dtypes' bfloat16 by its name: importing it takes time.
  if dtype.name != "bfloat16" and (dtype.kind != "f" or dtype.itemsize > 8):
    lost = ""
    if dtype.kind == "V":
      lost = (
        " (bytes without a type; x.view(ml_dtypes.bfloat16), if it was that)"
      )
    raise UserError(
      f"{source} holds {dtype}{lost}; expected float32 (or float16, bfloat16 or"
      " float64, which are computed in float32), as x.astype(np.float32) is"
    )
  if len(vectors_ND) != len(ids):
    raise UserError(
      f"{source} has {len(vectors_ND)} rows, but there are {len(ids)} items"
    )


def lengths(
  vectors_ND: np.ndarray,
  ids: Sequence[str],
  *,
  source: str = "embeddings",
  has_N: np.ndarray | None = None,
) -> np.ndarray:
  """Euclidean lengths of the rows, float64 [N]; refuses what has no cosine.

  Args:
    source: what a message calls them.
    has_N: which rows are looked at; None for all.

  Raises:
    UserError: a row is zero, not finite, or of a length beyond float32's.
  """
  length_N = np.empty(len(vectors_ND))
  buffer = np.empty((512, vectors_ND.shape[1]))  # stays in the cache
  for first in range(0, len(vectors_ND), len(buffer)):
    block = buffer[: len(vectors_ND) - first]
    with np.errstate(over="ignore"):  # an overflow shows as an infinity below
      block[...] = np.asarray(vectors_ND[first : first + 512], np.float32)
    length_N[first : first + 512] = np.sqrt(np.vecdot(block, block))
  # Beyond these the factor to unit length would leave float32.
  good_N = (length_N > 2.0**-100) & (length_N < 2.0**100)
  if has_N is not None:
    good_N |= ~has_N
  if not good_N.all():
    row = int(np.flatnonzero(~good_N)[0])
    values_D = np.asarray(vectors_ND[row])
    if np.isnan(values_D).any():
      what = f"has a NaN at value {int(np.isnan(values_D).argmax())}"
    elif not np.isfinite(length_N[row]):
      with np.errstate(over="ignore"):
        bad_D = ~np.isfinite(np.asarray(values_D, np.float32))
      what = f"is infinite in float32 at value {int(bad_D.argmax())}"
    elif length_N[row] == 0:
      what = "is all zero, so it has no cosine"
    else:
      what = f"has length {length_N[row]:.3g}, beyond float32's useful range"
    raise UserError(
      f"{source}: row {row} (id {ids[row]!r}) {what};"
      f" {int((~good_N).sum())} of {len(good_N)} rows are unusable"
    )
  return length_N
