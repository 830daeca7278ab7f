"""Joins the vectors of several models into one, row by row."""

from collections.abc import Sequence

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.vectors import Mixed

_ROWS = 2048  # joined at a time, in float64


def join(
  parts: Sequence[np.ndarray | Mixed], weights: Sequence[float]
) -> np.ndarray | Mixed:
  """Joins vectors of the same N rows, of any lengths and widths.

  The cosine of two rows is the sum of weight times cosine over the parts, where
  both rows have all parts. A part that a row lacks is a row of zeros; it stays
  one, and the others count fully. Where all are missing all values are the
  same, below zero; of a result with a sparse part, all dense values.

  Args:
    weights: of each part, from 0 to 1, with a sum of 1.

  Returns:
    float32 [N, D + E + ...], rows of unit length; `Mixed` where a part is: its
    dense parts, then its sparse ones, whose words begin with the part's number.

  Raises:
    UserError: other weights, or different numbers of rows.
  """
  if len(parts) != len(weights):
    raise UserError(f"{len(weights)} weights of {len(parts)} parts")
  if not all(0 <= weight <= 1 for weight in weights):
    raise UserError(f"weights are {list(weights)}; expected 0 to 1")
  rows = [len(part) for part in parts]
  if len(set(rows)) > 1:
    raise UserError(f"parts of {rows} rows; expected as many of each")
  sparse_NV, words = _join_sparse(parts, weights)
  square_N = np.zeros(rows[0])
  if sparse_NV is not None:
    square_N = sparse_NV.power(2).sum(axis=1)
  dense = [
    (part.dense_ND if isinstance(part, Mixed) else part, part, weight)
    for part, weight in zip(parts, weights, strict=True)
  ]
  width = sum(vectors_ND.shape[1] for vectors_ND, _, _ in dense)
  joined_NF = np.empty((rows[0], max(width, 1)), np.float32)
  length_N = np.empty(rows[0])
  for first in range(0, rows[0], _ROWS):
    some = slice(first, first + _ROWS)
    joined_BF = np.zeros((len(joined_NF[some]), max(width, 1)))
    at = 0
    for vectors_ND, part, weight in dense:
      end = at + vectors_ND.shape[1]
      joined_BF[:, at:end] = np.sqrt(weight) * _unit(
        vectors_ND[some], _length(part, some)
      )
      at = end
    # As an export's null embedding: far from what is never negative.
    joined_BF[~joined_BF.any(axis=1) & (square_N[some] == 0)] = -1
    length_N[some] = np.linalg.norm(joined_BF, axis=1)
    if sparse_NV is not None:
      length_N[some] = np.sqrt(length_N[some] ** 2 + square_N[some])
    joined_NF[some] = _unit(joined_BF, length_N[some])
  if sparse_NV is None:
    return joined_NF
  sparse_NV = _scaled(sparse_NV, 1 / length_N).astype(np.float32)
  return Mixed(joined_NF, sparse_NV, words)


def _length(part: np.ndarray | Mixed, some: slice) -> np.ndarray:
  """Lengths of rows, float64."""
  if not isinstance(part, Mixed):
    return np.linalg.norm(np.asarray(part[some], np.float64), axis=1)
  dense_BD = np.asarray(part.dense_ND[some], np.float64)
  square_B = part.sparse_NV[some].astype(np.float64).power(2).sum(axis=1)
  return np.sqrt(np.vecdot(dense_BD, dense_BD) + square_B)


def _unit(vectors_ND, length_N) -> np.ndarray:
  """float64 rows divided by their length; a row of zeros stays one."""
  length_N1 = np.where(length_N > 0, length_N, 1)[:, None]
  return np.asarray(vectors_ND, np.float64) / length_N1


def _join_sparse(parts, weights):
  """Joins the sparse parts with a weight; None where there are none.

  Returns:
    float64 [N, V] times the root of its weight, and the columns' words.
  """
  import scipy.sparse  # here and not above: it takes a moment

  joined, words = [], []
  for number, (part, weight) in enumerate(zip(parts, weights, strict=True), 1):
    if not isinstance(part, Mixed) or not weight:
      continue
    length_N = _length(part, slice(None))
    factor_N = np.sqrt(weight) / np.where(length_N > 0, length_N, 1)
    joined.append(_scaled(part.sparse_NV.astype(np.float64), factor_N))
    columns = range(part.sparse_NV.shape[1])
    words += [f"{number} {word}" for word in part.words or columns]
  if not joined:
    return None, None
  return scipy.sparse.csr_array(scipy.sparse.hstack(joined, "csr")), words


def _scaled(sparse_NV, factor_N):
  """Sparse rows times a factor each."""
  sparse_NV = sparse_NV.copy()
  sparse_NV.data = sparse_NV.data * np.repeat(
    factor_N, np.diff(sparse_NV.indptr)
  )
  return sparse_NV
