"""Finds each query's nearest rows: vectors and ids in, the exact top k out.

The ranking must not depend on how the work is cut, but the last bits of a
matrix product do. So a score is defined without such bits: unit rows are
rounded to multiples of 2^-26, whose products and sums are exact in float64 in
any order; their cosine follows from these sums alone, rounded to float32.
Most of that is never computed: a float32 product, whose error has a known
bound, chooses the few rows that need it, and where the bound cannot settle a
query, that query alone is scored exactly against everything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from item_jax.errors import UserError
from item_jax.evaluation.ranking import (
  EMPTY,
  Neighbours,
  in_id_order,
  neighbours,
  pack,
  rank,
  unpack,
)

GRID = 2.0**26  # 26 + 26 binary places and one for the sum: float64's 53
_PAIRS = 4096  # exact scores at a time: 25 MB at 768 values


class Asked(NamedTuple):
  """A search as those see it who choose what is looked at exactly."""

  vectors_ND: np.ndarray
  scale_N: np.ndarray  # 1 / length
  rows_Q: np.ndarray  # row numbers of the queries
  index: np.ndarray  # row numbers searched, by ascending id: I "places"
  own_Q: np.ndarray  # the place each query must not find (itself), or -1


# (Asked, kept=, tile=) -> for each tile of queries the `kept` places of highest
# float32 product, best first, and these products [Q, kept]; (-1, -inf) where
# there are no more. Which of equal products are kept does not matter.
Nominate = Callable[..., Iterable[tuple[np.ndarray, np.ndarray]]]


def search(
  vectors_ND: np.ndarray,
  ids: Sequence[str],
  *,
  k: int,
  queries: np.ndarray | None = None,
  index: np.ndarray | None = None,
  tile: int = 2048,
  nominate: Nominate | None = None,
  steps: float = 1,
) -> Neighbours:
  """The k rows of highest cosine for each query, the query itself left out.

  Args:
    vectors_ND: any float array, a memory map for instance; of any length but
      zero. Read in tiles, computed in float32.
    ids: N distinct ids; among equal scores the smaller id comes first.
    k: how many to find.
    queries: row numbers of the queries; None takes every row.
    index: row numbers of the rows searched; None takes every row.
    tile: queries and rows at a time. It never changes the result, and bounds
      the memory whatever N is: about 0.1 GB for 2,048 and 768 values, 0.4 GB
      where most scores are too close for float32 products.
    nominate: computes the float32 products; numpy by default. It never changes
      the result either.
    steps: how many rounding errors of float32 a step of these products may
      make: 1 where products and sums are IEEE's.

  Raises:
    UserError: a row is not finite or has no direction; the message names it.
  """
  scale_N = 1 / lengths(vectors_ND, ids)
  queries = np.arange(len(ids)) if queries is None else queries
  index, place_N = in_id_order(ids, index)
  asked = Asked(vectors_ND, scale_N, queries, index, place_N[queries])
  # The spare places make it likely that the bound below settles the query.
  nominated = (nominate or _nominate)(asked, kept=2 * k + 16, tile=tile)
  found = []
  starts = range(0, len(queries), tile)
  # Silent where nobody looks, or where it is done in a moment.
  bar = tqdm(starts, "search", disable=None, delay=5, leave=False)
  for first, (place_QC, rough_QC) in zip(bar, nominated, strict=True):
    part = part_of(asked, first, tile)
    places_QK, scores_QK, settled_Q = _settle(
      part, place_QC, rough_QC, k=k, steps=steps
    )
    rest = np.flatnonzero(~settled_Q)
    if len(rest):
      places_QK[rest], scores_QK[rest] = _rank_exactly(
        part, rest, k=k, tile=tile
      )
    found.append((places_QK, scores_QK))
  return neighbours(found, index, k)


def part_of(asked: Asked, first: int, tile: int) -> Asked:
  """The same for a tile of the queries."""
  return asked._replace(
    rows_Q=asked.rows_Q[first : first + tile],
    own_Q=asked.own_Q[first : first + tile],
  )


def _rank_exactly(asked: Asked, queries, *, k, tile):
  """Scores some of the queries exactly against everything."""
  grid_QD, factor_Q = _on_grid(
    asked.vectors_ND, asked.scale_N, asked.rows_Q[queries]
  )

  def score(first, last):
    rows = asked.index[first:last]
    grid_ID, factor_I = _on_grid(asked.vectors_ND, asked.scale_N, rows)
    return rounded(grid_QD @ grid_ID.T, factor_Q[:, None], factor_I)

  return rank(score, len(asked.index), asked.own_Q[queries], k=k, tile=tile)


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


def _nominate(
  asked: Asked, *, kept: int, tile: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Nominates by numpy."""
  width = asked.vectors_ND.shape[1]
  # Reused from tile to tile: fresh pages cost more than what is put in them.
  size = min(tile, len(asked.index))
  scores_2QI = np.empty((2, min(tile, len(asked.rows_Q)), size), np.float32)
  item_ID = np.empty((size, width), np.float32)
  for start in range(0, len(asked.rows_Q), tile):
    part = part_of(asked, start, tile)
    query_QD = unit(asked, part.rows_Q)

    def score(first, last, query_QD=query_QD):
      unit_ID = unit(asked, asked.index[first:last], out=item_ID)
      score_QI = scores_2QI[first // tile % 2, : len(query_QD)]
      return np.matmul(query_QD, unit_ID.T, out=score_QI[:, : last - first])

    yield rank(score, len(asked.index), part.own_Q, k=kept, tile=tile)


def _settle(asked: Asked, place_QC, rough_QC, *, k, steps=1):
  """Ranks what was nominated and says for which queries that is proof.

  Returns places and scores [Q, k] as `rank` does, both exact where the third
  result, settled [Q], is True.
  """
  vectors_ND, scale_N, rows = asked.vectors_ND, asked.scale_N, asked.rows_Q
  width = vectors_ND.shape[1]
  # Rounding of one float32 dot product of unit vectors: D products and sums,
  # the factors to unit length, the grid, the last step (2^-24 each at most).
  error = np.float32(steps * (width + width**0.5 + 16) * 2.0**-24)
  near_QC = rough_QC >= rough_QC[:, k - 1 : k] - 2 * error
  near_QC &= place_QC >= 0
  query_P, column_P = np.nonzero(near_QC)
  key_QC = np.full(place_QC.shape, EMPTY)
  grid_QD, factor_Q = _on_grid(vectors_ND, scale_N, rows)
  for first in range(0, len(query_P), _PAIRS):
    query, column = query_P[first : first + _PAIRS], column_P[first:][:_PAIRS]
    place = place_QC[query, column]
    grid_PD, factor_P = _on_grid(vectors_ND, scale_N, asked.index[place])
    sum_P = np.vecdot(grid_PD, grid_QD[query])
    exact_P = rounded(sum_P, factor_Q[query], factor_P)
    key_QC[query, column] = pack(exact_P, place)
  places_QK, scores_QK = unpack(np.sort(key_QC, axis=1)[:, ::-1][:, :k])
  # What was dropped on the way scored no better than the last one kept.
  dropped_Q = rough_QC[:, -1] + error
  settled_Q = (dropped_Q < scores_QK[:, -1]) | (place_QC[:, -1] < 0)
  return places_QK, scores_QK, settled_Q


def rounded(sums, factor, other_factor):
  """Exact sums of products of grid values -> cosines in float32.

  Adding zero turns -0.0 into 0.0, which must tie.
  """
  return (sums * (factor * other_factor)).astype(np.float32) + np.float32(0)


def unit(asked: Asked, rows, *, out=None):
  """Rows at unit length, float32 [R, D], into the first of `out` if given."""
  taken_RD = np.asarray(_take(asked.vectors_ND, rows), np.float32)
  scale_R1 = asked.scale_N[rows, None].astype(np.float32)
  return np.multiply(
    taken_RD, scale_R1, out=None if out is None else out[: len(rows)]
  )


def _on_grid(vectors_ND, scale_N, rows):
  """Rows in whole multiples of 2^-26 of their length, and 1 / new length.

  float64 [R, D] and [R].
  """
  taken_RD = np.asarray(_take(vectors_ND, rows), np.float32)
  grid_RD = np.multiply(taken_RD, (GRID * scale_N[rows])[:, None])
  np.rint(grid_RD, out=grid_RD)
  return grid_RD, 1 / np.sqrt(np.vecdot(grid_RD, grid_RD))


def _take(vectors_ND, rows):
  """Rows in the order asked for; a run of them without a gather."""
  if len(rows) and np.array_equal(
    rows, np.arange(rows[0], rows[0] + len(rows))
  ):
    return vectors_ND[rows[0] : rows[-1] + 1]
  return vectors_ND[rows]
