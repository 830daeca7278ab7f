"""Searches exact nearest neighbours by cosine.

The ranking must not depend on how the work is cut, but the last bits of a
matrix product do. So a score is defined without such bits: unit rows are
rounded to multiples of 2^-26, whose products and sums are exact in float64 in
any order; their cosine follows from these sums, rounded to float32. Most of
that is never computed: a float32 product, whose error has a known bound,
chooses the few candidates that need it, and where the bound cannot settle a
query, that query is scored exactly against the whole index. Rows that are
partly sparse are all scored exactly.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from item_jax.bars import show_bar
from item_jax.errors import UserError, check_whole
from item_jax.evaluation.mixed import rank_mixed
from item_jax.evaluation.ranking import (
  EMPTY,
  GRID,
  Neighbours,
  check_ids,
  in_id_order,
  neighbours,
  pack,
  rank,
  rounded,
  unpack,
)
from item_jax.evaluation.vectors import Mixed, as_vectors, lengths
from item_jax.process_wide import limit_blas, one_blas_thread
from item_jax.workers import count_cores

_PAIR_VALUES = 2**17  # of exact scores at a time: 1 MB, so they stay in a cache
_SCORES = 2**23  # that all threads hold: 32 MB
_UNIT = 2.0**-22  # a row as near to length 1 is taken as it is
_MAX_THREADS = 16
_LEAST_QUERIES = 64  # of a thread


class Problem(NamedTuple):
  """A search as those see it who look for candidates."""

  vectors_ND: np.ndarray
  scale_N: np.ndarray  # 1 / length
  rows_Q: np.ndarray  # row numbers of the queries
  index_I: np.ndarray  # row numbers searched, by ascending id: I "positions"
  own_Q: np.ndarray  # the position each query must not find (itself), or -1


# (Problem, kept=, tile=) -> find, where find(slice of the queries) gives the
# `kept` positions of highest float32 product, best first, and these products
# [Q, kept]; (-1, -inf) where there are no more. Which of equal products are
# kept does not matter.
Candidates = Callable[..., Callable[[slice], tuple[np.ndarray, np.ndarray]]]


def search(
  vectors_ND: np.ndarray | Mixed,
  ids: Sequence[str],
  *,
  k: int = 10,
  queries: Sequence[int] | np.ndarray | None = None,
  index: Sequence[int] | np.ndarray | None = None,
  tile: int = 1024,
  candidates: Candidates | None = None,
  steps: float = 1,
) -> Neighbours:
  """Finds the k rows of highest cosine for each query, but not the query.

  Args:
    vectors_ND: any float array, a memory map for instance; of any length but
      zero. Read in tiles, computed in float32. Or what else
      `vectors.as_vectors` takes.
    ids: N distinct ids of the rows; of equal scores the smaller id comes first.
    k: how many to find.
    queries: row numbers of the queries, or a mask; None takes every row.
    index: the same of the rows searched, each once.
    tile: queries that a thread takes at a time, at most, and in proportion
      rows. It never changes the result, and bounds the memory whatever N is:
      to about 0.2 GB for 1,024 and 768 values.
    candidates: computes the float32 products; numpy by default. It never
      changes the result either.
    steps: how many rounding errors of float32 a step of these products may
      make: 1 where products and sums are IEEE's.

  Raises:
    UserError: a row is not finite or has no direction; the message names it;
      there are not as many ids as rows, an id twice, or no such rows.
  """
  # By place: a column of a data frame that was sorted or filtered gives its
  # values by label.
  ids_N = np.asarray(ids, object)
  if not ids_N.ndim:
    raise UserError(f"ids={ids!r}: expected a list, an id of each row")
  ids = ids_N.tolist()
  vectors_ND = as_vectors(vectors_ND, ids)
  mixed = isinstance(vectors_ND, Mixed)
  check_whole("k", k, at_least=1)
  check_whole("tile", tile, at_least=1)
  check_ids(ids)
  queries = _row_numbers("queries", queries, len(ids))
  index = _row_numbers("index", index, len(ids))
  if len(np.unique(index)) < len(index):
    raise UserError("index has a row twice; expected each once")
  index, position_N = in_id_order(ids, index)
  held = min(k, max(1, len(index)))  # beyond it there is nothing to find
  if mixed:
    if candidates is not None:
      raise UserError(
        "vectors with a sparse part are searched without devices: leave"
        " --devices away"
      )
    search_part = rank_mixed(
      vectors_ND, queries, index, position_N[queries], k=held, tile=tile
    )
  else:
    scale_N = 1 / lengths(vectors_ND, ids)
    problem = Problem(vectors_ND, scale_N, queries, index, position_N[queries])
    search_part = _rank_dense(
      problem, candidates or _candidates, k=held, tile=tile, steps=steps
    )
  threads = min(_MAX_THREADS, count_cores())
  size = min(tile, max(_LEAST_QUERIES, -(-len(queries) // threads)))
  parts = [slice(i, i + size) for i in range(0, len(queries), size)]
  # A thread for each part: threads that share a product wait for each other.
  pool = ThreadPoolExecutor(threads, initializer=limit_blas)
  with one_blas_thread(), pool:
    each = pool.map(search_part, parts)
    shown = {"unit": "part", "desc": "search", "delay": 5, "leave": False}
    found = list(show_bar(each, total=len(parts), **shown))
  near = neighbours(found, index, k)
  return dataclasses.replace(near, ids=ids, queries_Q=queries)


def _row_numbers(name: str, given: Any, rows: int) -> np.ndarray:
  """Row numbers of a list or of a mask, int64; of None all."""
  if given is None:
    return np.arange(rows)
  found = np.asarray(given)
  if found.dtype == bool and found.shape == (rows,):
    return np.flatnonzero(found)
  whole = found.dtype.kind in "iu" and found.ndim == 1
  if found.size and not (whole and 0 <= found.min() <= found.max() < rows):
    raise UserError(
      f"{name} has the shape {found.shape} and type {found.dtype}: expected row"
      f" numbers from 0 to {rows - 1}, or a mask of {rows} rows"
    )
  return found.astype(np.int64)


def _rank_dense(problem: Problem, candidates: Candidates, *, k, tile, steps):
  """Ranks by candidates, and exactly where these are no proof."""
  # The spare candidates make it likely that the bound below settles a query.
  find = candidates(problem, kept=2 * k + 16, tile=tile)

  def search_part(rows: slice):
    part = part_of(problem, rows)
    positions_QK, scores_QK, settled_Q = _settle(
      part, *find(rows), k=k, steps=steps
    )
    rest = np.flatnonzero(~settled_Q)
    if len(rest):
      positions_QK[rest], scores_QK[rest] = _rank_exactly(
        part, rest, k=k, tile=tile
      )
    return positions_QK, scores_QK

  return search_part


def part_of(problem: Problem, rows: slice) -> Problem:
  """The same for a part of the queries."""
  return problem._replace(
    rows_Q=problem.rows_Q[rows], own_Q=problem.own_Q[rows]
  )


def _rank_exactly(problem: Problem, queries, *, k, tile):
  """Scores some of the queries exactly against the whole index."""
  grid_QD, factor_Q = _on_grid(problem, problem.rows_Q[queries])

  def score(first, last):
    grid_ID, factor_I = _on_grid(problem, problem.index_I[first:last])
    return rounded(grid_QD @ grid_ID.T, factor_Q[:, None], factor_I)

  return rank(
    score, len(problem.index_I), problem.own_Q[queries], k=k, tile=tile
  )


def _candidates(problem: Problem, *, kept: int, tile: int):
  """Finds candidates by numpy."""
  scale_N = problem.scale_N.astype(np.float32)
  # By ascending row, which is how they lie in memory: none is copied.
  order_I = np.argsort(problem.index_I)
  rows_I = problem.index_I[order_I]
  # Column of a position and position of a column; of -1, none, it is -1.
  column_I, position_I = (
    np.append(x, -1) for x in (np.argsort(order_I), order_I)
  )
  # The wider, the fewer times the best ones are merged.
  width = min(16 * tile, max(tile, _SCORES // (count_cores() * tile)))
  held = threading.local()

  def find(rows: slice):
    part = part_of(problem, rows)
    query_QD = unit(problem, part.rows_Q)
    # Reused by a thread: fresh pages cost more than what is put in them.
    if not hasattr(held, "scores"):
      held.scores = np.empty(tile * min(width, len(rows_I)), np.float32)

    def score(first, last):
      taken = rows_I[first:last]
      item_ID = _take(problem.vectors_ND, taken)
      shape = len(query_QD), len(taken)
      out_QI = held.scores[: shape[0] * shape[1]].reshape(shape)
      np.matmul(query_QD, item_ID.T, out=out_QI)
      if np.abs(scale_N[taken] - 1).max() > _UNIT:
        out_QI *= scale_N[taken]
      return out_QI

    own_Q = column_I[part.own_Q]
    columns_QK, scores_QK = rank(score, len(rows_I), own_Q, k=kept, tile=width)
    return position_I[columns_QK], scores_QK

  return find


def _settle(
  problem: Problem, position_QC, rough_QC, *, k: int, steps: float = 1
):
  """Ranks candidates and says for which queries that is proof.

  Returns positions and scores [Q, k] as `rank` does, both exact where the third
  result, settled [Q], is True.
  """
  width = problem.vectors_ND.shape[1]
  # Rounding of one float32 dot product of unit vectors: D products and sums;
  # the grid; at most 2^-24 each for the query's factor, its use and the last
  # step, and for the item's 2^-22 (`_UNIT`) or as much as for the query's.
  error = np.float32(steps * (width + width**0.5 + 16) * 2.0**-24)
  near_QC = rough_QC >= rough_QC[:, k - 1 : k] - 2 * error
  near_QC &= position_QC >= 0
  query_P, column_P = np.nonzero(near_QC)
  key_QC = np.full(position_QC.shape, EMPTY)
  grid_QD, factor_Q = _on_grid(problem, problem.rows_Q)
  pairs = max(1, _PAIR_VALUES // width)
  for first in range(0, len(query_P), pairs):
    query, column = query_P[first : first + pairs], column_P[first:][:pairs]
    position = position_QC[query, column]
    grid_PD, factor_P = _on_grid(problem, problem.index_I[position])
    sum_P = np.vecdot(grid_PD, grid_QD[query])
    exact_P = rounded(sum_P, factor_Q[query], factor_P)
    key_QC[query, column] = pack(exact_P, position)
  positions_QK, scores_QK = unpack(np.sort(key_QC, axis=1)[:, ::-1][:, :k])
  # What was dropped on the way scored no better than the last one kept.
  dropped_Q = rough_QC[:, -1] + error
  settled_Q = (dropped_Q < scores_QK[:, -1]) | (position_QC[:, -1] < 0)
  return positions_QK, scores_QK, settled_Q


def unit(problem: Problem, rows: np.ndarray) -> np.ndarray:
  """Rows at unit length, float32 [R, D]."""
  scale_R1 = problem.scale_N[rows, None].astype(np.float32)
  return _take(problem.vectors_ND, rows) * scale_R1


def _on_grid(problem: Problem, rows):
  """Rows in whole multiples of 2^-26 of their length, and 1 / new length.

  float64 [R, D] and [R].
  """
  scale_R1 = GRID * problem.scale_N[rows, None]
  grid_RD = np.multiply(_take(problem.vectors_ND, rows), scale_R1)
  np.rint(grid_RD, out=grid_RD)
  return grid_RD, 1 / np.sqrt(np.vecdot(grid_RD, grid_RD))


def _take(vectors_ND, rows):
  """Rows in the order asked for, float32; a run of them without a gather."""
  if len(rows) and np.array_equal(
    rows, np.arange(rows[0], rows[0] + len(rows))
  ):
    rows = slice(rows[0], rows[-1] + 1)
  return np.asarray(vectors_ND[rows], np.float32)
