"""Finds each query's nearest rows: vectors and ids in, the exact top k out.

The ranking must not depend on how the work is cut, but the last bits of a
matrix product do. So a score is defined without rounding: unit rows are
rounded to multiples of 2^-26, whose products and sums are exact in float64 in
any order, and the exact sum is rounded once, to float32. Most of that is never
computed: a float32 product, whose error has a known bound, chooses the few
rows that need it, and where the bound cannot settle a query, that query alone
is scored exactly against everything.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from item_jax.errors import UserError

GRID = 2.0**26  # 26 + 26 binary places and one for the sum: float64's 53
_EMPTY = np.iinfo(np.int64).min  # a key below that of every score
_LOW = np.int64(0xFFFFFFFF)
_PAIRS = 4096  # exact scores at a time: 25 MB at 768 values


class Neighbours(NamedTuple):
  """The nearest rows of Q queries, best first, K of them (or fewer)."""

  rows_QK: np.ndarray  # int64 row numbers; -1 where there are no more
  scores_QK: np.ndarray  # float32 cosines; -inf where there are no more


def search(
  vectors_ND: np.ndarray,
  ids: Sequence[str],
  *,
  k: int,
  queries: np.ndarray | None = None,
  index: np.ndarray | None = None,
  tile: int = 2048,
) -> Neighbours:
  """The k rows of highest cosine for each query, the query itself left out.

  Args:
    vectors_ND: any float array, a memory map for instance; of any length but
      zero. Read in tiles, computed in float32.
    ids: N distinct ids; among equal scores the smaller id comes first.
    k: how many to find.
    queries: row numbers of the queries; None takes every row.
    index: row numbers of the rows searched; None takes every row.
    tile: queries and rows at a time. It bounds the memory (about
      4 tile (tile + 3 D) bytes), and never changes the result.

  Raises:
    UserError: a row is not finite or has no direction; the message names it.
  """
  scale_N = 1 / lengths(vectors_ND, ids)
  queries = np.arange(len(ids)) if queries is None else queries
  index, place_N = in_id_order(ids, index)
  found = []
  starts = range(0, len(queries), tile)
  # Silent where nobody looks, or where it is done in a moment.
  for first in tqdm(starts, "search", disable=None, delay=5, leave=False):
    rows = queries[first : first + tile]
    places_QK, scores_QK, settled_Q = _settle(
      vectors_ND, scale_N, rows, index, place_N[rows], k=k, tile=tile
    )
    rest = np.flatnonzero(~settled_Q)
    if len(rest):
      grid_QD = _on_grid(vectors_ND, scale_N, rows[rest])

      def exact(first, last, grid_QD=grid_QD):
        grid_ID = _on_grid(vectors_ND, scale_N, index[first:last])
        return rounded(grid_QD @ grid_ID.T)

      places_QK[rest], scores_QK[rest] = rank(
        exact, len(index), place_N[rows[rest]], k=k, tile=tile
      )
    found.append((places_QK, scores_QK))
  return neighbours(found, index, k)


def lengths(vectors_ND: np.ndarray, ids: Sequence[str]) -> np.ndarray:
  """Euclidean lengths of the rows, float64 [N]; refuses what has no cosine."""
  length_N = np.empty(len(vectors_ND))
  buffer = np.empty((512, vectors_ND.shape[1]))  # stays in the cache
  for first in range(0, len(vectors_ND), len(buffer)):
    block = buffer[: len(vectors_ND) - first]
    with np.errstate(over="ignore"):  # an overflow shows as an infinity below
      block[...] = np.asarray(vectors_ND[first : first + 512], np.float32)
    length_N[first : first + 512] = np.sqrt(np.vecdot(block, block))
  # Beyond these the factor to unit length would leave float32.
  good_N = (length_N > 2.0**-100) & (length_N < 2.0**100)
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
      f"embeddings: row {row} (id {ids[row]!r}) {what};"
      f" {int((~good_N).sum())} of {len(good_N)} rows are unusable"
    )
  return length_N


def in_id_order(
  ids: Sequence[str], index: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
  """The index's rows by ascending id, and each row's place there (or -1).

  Walking the index in this order makes "ties by id" mean "the first stays".
  """
  rows = range(len(ids)) if index is None else index.tolist()
  index = np.array(sorted(rows, key=lambda row: ids[row]), np.int64)
  place_N = np.full(len(ids), -1)
  place_N[index] = np.arange(len(index))
  return index, place_N


def rank(
  score: Callable[[int, int], np.ndarray],
  size: int,
  own_Q: np.ndarray,
  *,
  k: int,
  tile: int,
) -> tuple[np.ndarray, np.ndarray]:
  """The best k of `size` places for Q queries, ties to the smaller place.

  Args:
    score: (first, last) -> float32 [Q, last - first], asked tile by tile.
    own_Q: the place each query must not find (itself), or -1.

  Returns:
    places [Q, k] (-1 where there are no more) and their float32 scores.
  """
  best_QK = np.full((len(own_Q), k), _EMPTY)
  floor_Q = np.full(len(own_Q), -np.inf, np.float32)
  # One tile is scored while the one before is sifted, which takes one core.
  with ThreadPoolExecutor(1) as ahead:
    coming = ahead.submit(score, 0, min(tile, size))
    for first in range(0, size, tile):
      score_QI = coming.result()
      last = first + tile
      if last < size:
        coming = ahead.submit(score, last, min(last + tile, size))
      inside = np.flatnonzero((own_Q >= first) & (own_Q < last))
      score_QI[inside, own_Q[inside] - first] = -np.inf
      best_QK, floor_Q = _merge(best_QK, floor_Q, score_QI, first)
  return _unpack(np.sort(best_QK, axis=1)[:, ::-1])


def neighbours(
  found: list[tuple[np.ndarray, np.ndarray]], index: np.ndarray, k: int
) -> Neighbours:
  """Joins the blocks' (places, scores) and turns places into row numbers."""
  if not found:
    return Neighbours(np.empty((0, k), int), np.empty((0, k), np.float32))
  places_QK = np.concatenate([places for places, _ in found])
  scores_QK = np.concatenate([scores for _, scores in found])
  return Neighbours(np.where(places_QK < 0, -1, index[places_QK]), scores_QK)


def _settle(vectors_ND, scale_N, rows, index, own_Q, *, k, tile):
  """Ranks by float32 products and says for which queries that is proof.

  Returns places and scores [Q, k] as `rank` does, both exact where the third
  result, settled [Q], is True.
  """
  width = vectors_ND.shape[1]
  query_QD = np.empty((len(rows), width), np.float32)
  _unit(vectors_ND, scale_N, rows, out=query_QD)
  # Reused from tile to tile: fresh pages cost more than what is put in them.
  size = min(tile, len(index))
  scores_2QI = np.empty((2, len(rows), size), np.float32)
  item_ID = np.empty((size, width), np.float32)

  def score(first, last):
    unit_ID = item_ID[: last - first]
    _unit(vectors_ND, scale_N, index[first:last], out=unit_ID)
    score_QI = scores_2QI[first // tile % 2, :, : last - first]
    return np.matmul(query_QD, unit_ID.T, out=score_QI)

  # The spare places make it likely that the bound below settles the query.
  kept = 2 * k + 16
  place_QC, rough_QC = rank(score, len(index), own_Q, k=kept, tile=tile)
  # Rounding of one float32 dot product of unit vectors: D products and sums,
  # the factors to unit length, the grid, the last step (2^-24 each at most).
  error = np.float32((width + width**0.5 + 16) * 2.0**-24)
  near_QC = rough_QC >= rough_QC[:, k - 1 : k] - 2 * error
  near_QC &= place_QC >= 0
  query_P, column_P = np.nonzero(near_QC)
  key_QC = np.full(place_QC.shape, _EMPTY)
  grid_QD = _on_grid(vectors_ND, scale_N, rows)
  for first in range(0, len(query_P), _PAIRS):
    query, column = query_P[first : first + _PAIRS], column_P[first:][:_PAIRS]
    place = place_QC[query, column]
    grid_PD = _on_grid(vectors_ND, scale_N, index[place])
    exact_P = rounded(np.vecdot(grid_PD, grid_QD[query]))
    key_QC[query, column] = _pack(exact_P, place)
  places_QK, scores_QK = _unpack(np.sort(key_QC, axis=1)[:, ::-1][:, :k])
  # What was dropped on the way scored no better than the last one kept.
  dropped_Q = rough_QC[:, -1] + error
  settled_Q = (dropped_Q < scores_QK[:, -1]) | (place_QC[:, -1] < 0)
  return places_QK, scores_QK, settled_Q


def _unit(vectors_ND, scale_N, rows, *, out):
  """Rows at unit length into float32 [R, D]."""
  taken_RD = np.asarray(_take(vectors_ND, rows), np.float32)
  np.multiply(taken_RD, scale_N[rows, None].astype(np.float32), out=out)


def _on_grid(vectors_ND, scale_N, rows):
  """Rows at unit length in whole multiples of 2^-26, float64 [R, D]."""
  taken_RD = np.asarray(_take(vectors_ND, rows), np.float32)
  grid_RD = np.multiply(taken_RD, (GRID * scale_N[rows])[:, None])
  return np.rint(grid_RD, out=grid_RD)


def _take(vectors_ND, rows):
  """Rows in the order asked for; a run of them without a gather."""
  if len(rows) and np.array_equal(
    rows, np.arange(rows[0], rows[0] + len(rows))
  ):
    return vectors_ND[rows[0] : rows[-1] + 1]
  return vectors_ND[rows]


def rounded(sum_of_grid):
  """Exact sums of products of grid values -> cosines in float32.

  Adding zero turns -0.0 into 0.0, which must tie.
  """
  return (sum_of_grid * GRID**-2).astype(np.float32) + np.float32(0)


def _merge(best_QK, floor_Q, score_QI, first):
  """Takes a tile's scores into the best keys; returns these and their floor.

  A score equal to the floor is passed over: its place is larger, so it loses
  the tie.
  """
  k = best_QK.shape[1]
  width = score_QI.shape[1]
  hit_QI = score_QI > floor_Q[:, None]
  if np.count_nonzero(hit_QI) > hit_QI.size // 8 and width > k:
    # The first tile, mostly: nothing below its own k-th score can stay.
    kth_Q = np.partition(score_QI, -k, axis=1)[:, -k]
    hit_QI &= score_QI >= kth_Q[:, None]
  query_P, column_P = np.divmod(np.flatnonzero(hit_QI), width)
  touched, start, count = np.unique(
    query_P, return_index=True, return_counts=True
  )
  line_P = np.repeat(np.arange(len(touched)), count)
  key_QI = np.full((len(touched), count.max(initial=0)), _EMPTY)
  key_QI[line_P, np.arange(len(line_P)) - start[line_P]] = _pack(
    score_QI[query_P, column_P], first + column_P
  )
  both = np.concatenate([best_QK[touched], key_QI], axis=1)
  best_QK[touched] = np.partition(both, -k, axis=1)[:, -k:]
  floor_Q[touched] = _unpack(best_QK[touched].min(axis=1))[1]
  return best_QK, floor_Q


def _pack(score, place):
  """One int64 that sorts by score, and the smaller place above at a tie.

  The bits of a float32 sort as an int32 once those of negative numbers are
  flipped; they take the upper half, the complement of the place the lower.
  """
  bits = np.ascontiguousarray(score).view(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  return (bits.astype(np.int64) << 32) | (_LOW - place)


def _unpack(key):
  """Keys -> places (-1 where empty) and scores (-inf where empty)."""
  bits = (key >> 32).astype(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  empty = key == _EMPTY
  place = np.where(empty, -1, _LOW - (key & _LOW))
  return place, np.where(empty, np.float32(-np.inf), bits.view(np.float32))
