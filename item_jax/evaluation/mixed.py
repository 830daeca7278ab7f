"""Ranks and reduces rows of which a part is sparse.

Word counts of a million titles have a hundred thousand columns, and are never
made dense: only scores of some queries with some rows are.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.ranking import GRID, rank, rounded
from item_jax.evaluation.vectors import Mixed, open_embeddings

# Of a folder, beside embeddings.npy: the sparse part, and what its columns are.
SPARSE, WORDS = "sparse.npz", "words.txt"
_WIDTH = 4  # rows of the index at a time, in multiples of the queries
_CACHED_VALUES = 2**25  # of an index that is kept on the grid: 0.25 GB
_UNLIKE = "vectors with a sparse part beside vectors without one"
_DIRECTIONS = 256  # that a sparse part is reduced to: as wide as an embedding


def rank_mixed(
  vectors: Mixed,
  queries: np.ndarray,
  index: np.ndarray,
  own_Q: np.ndarray,
  *,
  k: int,
  tile: int,
) -> Callable[[slice], tuple[np.ndarray, np.ndarray]]:
  """Returns a function that ranks a slice of the queries, as `search` does.

  Every score is the exact sum of products of values that were rounded to
  multiples of 2^-26, so that it does not depend on the tiles; there is no
  quicker first choice in float32 as of dense rows.

  Args:
    queries: their row numbers. own_Q: the position of each in the index, or -1.
    index: the row numbers that are searched, by ascending id.

  Raises:
    UserError: a row is not finite.
  """
  sparse_NV = vectors.sparse_NV.astype(np.float64)  # a copy
  sparse_NV.data = np.rint(sparse_NV.data * GRID)
  square_N = sparse_NV.power(2).sum(axis=1)
  for first in range(0, len(vectors), tile):
    grid_BD = _on_grid(vectors.dense_ND[first : first + tile])
    square_N[first : first + tile] += np.vecdot(grid_BD, grid_BD)
  if not np.isfinite(square_N).all():
    row = int(np.flatnonzero(~np.isfinite(square_N))[0])
    raise UserError(f"embeddings: row {row} is not finite")
  # A row of zeros has no factor; one is as good, its sums are zero.
  factor_N = 1 / np.sqrt(np.maximum(square_N, 1))
  width = _WIDTH * tile
  firsts = range(0, len(index), width)
  # In rows once they are turned, or every product would turn them back.
  turned = [sparse_NV[index[i : i + width]].T.tocsr() for i in firsts]
  dense_ND, cached = vectors.dense_ND, None
  if len(index) * dense_ND.shape[1] <= _CACHED_VALUES:
    cached = [_on_grid(dense_ND[index[i : i + width]]) for i in firsts]

  def rank_part(part: slice) -> tuple[np.ndarray, np.ndarray]:
    rows = queries[part]
    query_QV, factor_Q1 = sparse_NV[rows], factor_N[rows, None]
    query_QD = _on_grid(dense_ND[rows])

    def score(first, last):
      at = first // width
      sums_QI = (query_QV @ turned[at]).toarray()
      if query_QD.shape[1]:
        if cached is None:
          sums_QI += query_QD @ _on_grid(dense_ND[index[first:last]]).T
        else:
          sums_QI += query_QD @ cached[at].T
      return rounded(sums_QI, factor_Q1, factor_N[index[first:last]])

    return rank(score, len(index), own_Q[part], k=k, tile=width)

  return rank_part


def _on_grid(vectors_BD: np.ndarray) -> np.ndarray:
  """Rows of unit length in whole multiples of 2^-26, float64."""
  grid_BD = np.asarray(vectors_BD, np.float64) * GRID
  return np.rint(grid_BD, out=grid_BD)


def write_mixed(folder: Path, vectors: Mixed) -> None:
  """Writes embeddings.npy, sparse.npz and words.txt, one word a line."""
  import scipy.sparse  # here and not above: it takes a moment

  np.save(folder / "embeddings.npy", vectors.dense_ND, allow_pickle=False)
  scipy.sparse.save_npz(folder / SPARSE, vectors.sparse_NV, compressed=False)
  if vectors.words is not None:
    (folder / WORDS).write_bytes("\n".join(vectors.words).encode())


def open_mixed(folder: Path, ids: Sequence[str]) -> Mixed:
  """Opens what `write_mixed` wrote; the dense part stays on disk.

  Raises:
    UserError: the files are not of as many rows as there are ids.
  """
  import scipy.sparse

  dense_ND = open_embeddings(folder / "embeddings.npy", ids)
  held = scipy.sparse.load_npz(folder / SPARSE)
  sparse_NV: Any = scipy.sparse.csr_array(held)
  words = None
  if (folder / WORDS).is_file():
    text = (folder / WORDS).read_bytes().decode()
    words = text.split("\n") if text else []
  if sparse_NV.shape != (
    len(ids),
    sparse_NV.shape[1] if words is None else len(words),
  ):
    raise UserError(
      f"{folder / SPARSE} has the shape {sparse_NV.shape}; expected a row for"
      f" each of {len(ids)} items, and a column for each line of {WORDS}"
    )
  return Mixed(dense_ND, sparse_NV, words)


def reduce(
  train: np.ndarray | Mixed, *others: np.ndarray | Mixed
) -> list[np.ndarray]:
  """Makes sparse parts dense, for classifiers: float32 [N, D + 256].

  They are projected on the directions in which the training rows differ most
  (truncated SVD), which keeps their products with each other as far as 256
  directions can. Columns of one word are one, whatever the split; words that
  training lacks are left out. A row without anything is below zero, as the
  null embedding. Vectors that are dense are returned as they are.

  Raises:
    UserError: columns that cannot be matched.
  """
  if not isinstance(train, Mixed):
    if any(isinstance(other, Mixed) for other in others):
      raise UserError(_UNLIKE)
    return [train, *others]  # pyright: ignore[reportReturnType]
  directions_VP = find_directions(train.sparse_NV)[1]
  reduced = []
  for part in (train, *others):
    if not isinstance(part, Mixed):
      raise UserError(_UNLIKE)
    sparse_NV = train.sparse_NV if part is train else _columns_of(train, part)
    dense_ND = np.hstack([part.dense_ND, sparse_NV @ directions_VP])
    dense_ND[~dense_ND.any(axis=1)] = -(dense_ND.shape[1] ** -0.5)
    reduced.append(dense_ND.astype(np.float32))
  return reduced


def _columns_of(train: Mixed, other: Mixed) -> Any:
  """Another's sparse rows, in the columns of training."""
  import scipy.sparse

  if train.words is None or other.words is None:
    if train.sparse_NV.shape[1] != other.sparse_NV.shape[1]:
      raise UserError(
        f"sparse parts of {train.sparse_NV.shape[1]} and"
        f" {other.sparse_NV.shape[1]} columns, of which it is not known what"
        " they count"
      )
    return other.sparse_NV
  at = {word: column for column, word in enumerate(train.words)}
  pairs = [
    (row, at[word]) for row, word in enumerate(other.words) if word in at
  ]
  row_P, column_P = np.array(pairs, int).reshape(-1, 2).T
  turn_VW = scipy.sparse.csr_array(
    (np.ones(len(pairs)), (row_P, column_P)),
    shape=(len(other.words), len(train.words)),
  )
  return other.sparse_NV @ turn_VW


def find_directions(sparse_NV: Any) -> tuple[np.ndarray, np.ndarray]:
  """Finds the directions in which sparse rows differ most, by their size.

  Returns:
    The rows' places along them, float64 [N, P], and the directions, [V, P].
  """
  from sklearn.utils.extmath import randomized_svd

  width = min(_DIRECTIONS, *sparse_NV.shape)
  if not width:
    return np.zeros((sparse_NV.shape[0], 1)), np.zeros((sparse_NV.shape[1], 1))
  left_NP, size_P, turn_PV = randomized_svd(sparse_NV, width, random_state=0)
  return left_NP * size_P, turn_PV.T
