"""Ranks without seeing all scores at once: tiles of scores in, best k out.

A score and its place are packed into one integer whose order is the ranking,
so that what is kept, and in which order, never depends on the tiles.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

EMPTY = np.iinfo(np.int64).min  # a key below that of every score
_LOW = np.int64(0xFFFFFFFF)


class Neighbours(NamedTuple):
  """The nearest rows of Q queries, best first, K of them (or fewer)."""

  rows_QK: np.ndarray  # int64 row numbers; -1 where there are no more
  scores_QK: np.ndarray  # float32 cosines; -inf where there are no more


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
  best_QK = np.full((len(own_Q), k), EMPTY)
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
  return unpack(np.sort(best_QK, axis=1)[:, ::-1])


def neighbours(
  found: list[tuple[np.ndarray, np.ndarray]], index: np.ndarray, k: int
) -> Neighbours:
  """Joins the blocks' (places, scores) and turns places into row numbers."""
  if not found:
    return Neighbours(np.empty((0, k), int), np.empty((0, k), np.float32))
  places_QK = np.concatenate([places for places, _ in found])
  scores_QK = np.concatenate([scores for _, scores in found])
  return Neighbours(np.where(places_QK < 0, -1, index[places_QK]), scores_QK)


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
  key_QI = np.full((len(touched), count.max(initial=0)), EMPTY)
  key_QI[line_P, np.arange(len(line_P)) - start[line_P]] = pack(
    score_QI[query_P, column_P], first + column_P
  )
  both = np.concatenate([best_QK[touched], key_QI], axis=1)
  best_QK[touched] = np.partition(both, -k, axis=1)[:, -k:]
  floor_Q[touched] = unpack(best_QK[touched].min(axis=1))[1]
  return best_QK, floor_Q


def pack(score, place):
  """One int64 that sorts by score, and the smaller place above at a tie.

  The bits of a float32 sort as an int32 once those of negative numbers are
  flipped; they take the upper half, the complement of the place the lower.
  """
  bits = np.ascontiguousarray(score).view(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  return (bits.astype(np.int64) << 32) | (_LOW - place)


def unpack(key):
  """Keys -> places (-1 where empty) and scores (-inf where empty)."""
  bits = (key >> 32).astype(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  empty = key == EMPTY
  place = np.where(empty, -1, _LOW - (key & _LOW))
  return place, np.where(empty, np.float32(-np.inf), bits.view(np.float32))
