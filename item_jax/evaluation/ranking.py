"""Ranks tiles of scores, so that all scores are never held at once.

A score and its position are packed into one integer whose order is the
ranking, so that what is kept, and in which order, never depends on the tiles.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.results import Result, to_html

if TYPE_CHECKING:
  import pandas

GRID = 2.0**26  # 26 + 26 binary places and one for the sum: float64's 53
EMPTY = np.iinfo(np.int64).min  # a key below that of every score
_LOW = np.int64(0xFFFFFFFF)
_SHOWN = 10  # queries, of all that are found


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Neighbours(Result):
  """The nearest rows of Q queries, best first, K of them (or fewer).

  `rows, scores = neighbours` takes it apart.

  rows_QK: int64 row numbers; -1 where there are no more.
  scores_QK: float32 cosines; -inf where there are no more.
  ids: of all rows, where they are known. queries_Q: row numbers of the queries.
  """

  rows_QK: np.ndarray
  scores_QK: np.ndarray
  ids: Sequence[str] | None = None
  queries_Q: np.ndarray | None = None

  def __iter__(self) -> Iterator[np.ndarray]:
    return iter((self.rows_QK, self.scores_QK))

  def __len__(self) -> int:
    return 2

  def __getitem__(self, name: Any) -> Any:
    if isinstance(name, str):
      return super().__getitem__(name)
    return (self.rows_QK, self.scores_QK)[name]  # as the tuple it once was

  def to_dict(self) -> dict[str, list]:
    """Returns rows and scores as lists, a line for each query.

    Where there are no more a row is -1 and its score None: JSON has no -inf.
    """
    scores_QK = self.scores_QK.astype(object)
    scores_QK[self.rows_QK < 0] = None
    return {"rows": self.rows_QK.tolist(), "scores": scores_QK.tolist()}

  def to_frame(self) -> "pandas.DataFrame":
    """Returns a data frame, a line for each query and rank (from 1)."""
    import pandas

    query_P, rank_P = np.nonzero(self.rows_QK >= 0)
    row_P = self.rows_QK[query_P, rank_P]
    columns = {
      "query": query_P,
      "rank": rank_P + 1,
      "row": row_P,
      "score": self.scores_QK[query_P, rank_P],
    }
    if self.ids is not None:
      columns["query_id"] = [self._query(query) for query in query_P.tolist()]
      columns["id"] = [self.ids[row] for row in row_P.tolist()]
    return pandas.DataFrame(columns)

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each query: it, and by rank who is near and how."""
    return self._lines(len(self.rows_QK))

  def __str__(self) -> str:
    count, k = self.rows_QK.shape
    lines = [f"{count:,} queries, the {k:,} nearest of each"]
    for line in self._lines(_SHOWN):
      query, *near = line.values()
      lines.append(f"{query}: {'  '.join(near)}")
    return "\n".join([*lines, "..."] if count > _SHOWN else lines)

  def _repr_html_(self) -> str:
    return to_html(self._lines(_SHOWN))

  def _lines(self, count: int) -> list[dict[str, Any]]:
    lines = []
    for query, (row_K, score_K) in enumerate(
      zip(self.rows_QK[:count].tolist(), self.scores_QK[:count], strict=True)
    ):
      line: dict[str, Any] = {"query": str(self._query(query))}
      for place, (row, score) in enumerate(zip(row_K, score_K, strict=True), 1):
        if row >= 0:
          name = row if self.ids is None else self.ids[row]
          line[f"{place}"] = f"{name} {score:.3f}"
      lines.append(line)
    return lines

  def _query(self, query: int) -> Any:
    """The query's id, or else its row, or else its place among the queries."""
    row = query if self.queries_Q is None else int(self.queries_Q[query])
    return row if self.ids is None else self.ids[row]


def check_ids(ids: Sequence[str], source: object = "ids") -> None:
  """Refuses an id that stands twice, or that names nothing."""
  first: dict[str, int] = {}
  for row, name in enumerate(ids):
    if not _is_id(name):
      raise UserError(
        f"{source}: row {row} is {name!r}, a {type(name).__name__}; expected a"
        " text"
      )
    before = first.setdefault(name, row)
    if before != row:
      raise UserError(
        f"{source}: duplicate id {name!r} in rows {before} and {row}; expected"
        " each once"
      )


def _is_id(name: Any) -> bool:
  """Whether it may name a row: no flag, no missing value, no list."""
  if name is None or isinstance(name, (bool, np.bool_)):
    return False
  try:
    hash(name)
    return bool(name == name)  # a NaN is not
  except TypeError:  # of a list, or of pandas' NA
    return False


def in_id_order(
  ids: Sequence[str], index: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
  """The index's rows by ascending id, and each row's position there (or -1).

  Ids that are numbers are compared as text, as those of a table are.
  Walking the index in this order makes "ties by id" mean "the first stays".
  """
  rows = range(len(ids)) if index is None else index.tolist()
  texts = list(map(str, ids))
  index = np.array(sorted(rows, key=texts.__getitem__), np.int64)
  position_N = np.full(len(ids), -1)
  position_N[index] = np.arange(len(index))
  return index, position_N


def rank(
  score: Callable[[int, int], np.ndarray],
  size: int,
  own_Q: np.ndarray,
  *,
  k: int,
  tile: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the best k of `size` positions for Q queries, ties to the smaller.

  Args:
    score: (first, last) -> float32 [Q, last - first], called tile by tile.
    own_Q: the position each query must not find (itself), or -1.

  Returns:
    positions [Q, k] (-1 where there are no more) and their float32 scores.
  """
  best_QK = np.full((len(own_Q), k), EMPTY)
  for first in range(0, size, tile):
    score_QI = score(first, min(first + tile, size))
    inside = np.flatnonzero((own_Q >= first) & (own_Q < first + tile))
    score_QI[inside, own_Q[inside] - first] = -np.inf
    _merge(best_QK, score_QI, first)
  return unpack(np.sort(best_QK, axis=1)[:, ::-1])


def rounded(
  sums: np.ndarray, factor: np.ndarray, other_factor: np.ndarray
) -> np.ndarray:
  """Exact sums of products of grid values -> cosines in float32.

  Adding zero turns -0.0 into 0.0, which must tie.
  """
  return (sums * (factor * other_factor)).astype(np.float32) + np.float32(0)


def neighbours(
  found: list[tuple[np.ndarray, np.ndarray]], index: np.ndarray, k: int
) -> Neighbours:
  """Joins tiles of (positions, scores) and turns positions into row numbers.

  Tiles may be narrower than k.
  """
  if not found:
    return Neighbours(np.empty((0, k), int), np.empty((0, k), np.float32))
  position_QK = np.concatenate([positions for positions, _ in found])
  scores_QK = np.concatenate([scores for _, scores in found])
  empty = ((0, 0), (0, k - position_QK.shape[1]))
  position_QK = np.pad(position_QK, empty, constant_values=-1)
  scores_QK = np.pad(scores_QK, empty, constant_values=-np.inf)
  rows_QK = np.append(index, -1)[position_QK]  # of position -1 the last
  return Neighbours(rows_QK, scores_QK)


def _merge(best_QK, score_QI, first):
  """Takes a tile's scores into the best keys, the lowest of which is first.

  A score equal to a query's lowest best one is passed over: its position is
  larger, so it loses the tie.
  """
  queries, k = best_QK.shape
  least_Q = np.nextafter(unpack(best_QK[:, 0])[1], np.float32(np.inf))
  hit_QI = score_QI >= least_Q[:, None]
  # Many: the first tile, or better ones come late.
  if np.count_nonzero(hit_QI) > score_QI.size // 8:
    least_Q = np.maximum(least_Q, _lower_bound(score_QI, k))
    hit_QI = score_QI >= least_Q[:, None]
  hits = np.flatnonzero(hit_QI)
  query_P, column_P = np.divmod(hits, score_QI.shape[1])
  count_Q = np.bincount(query_P, minlength=queries)
  slot_P = np.arange(len(hits)) - (np.cumsum(count_Q) - count_Q)[query_P]
  key_QI = np.full((queries, count_Q.max(initial=0)), EMPTY)
  key_QI[query_P, slot_P] = pack(score_QI.ravel()[hits], first + column_P)
  better = np.flatnonzero(count_Q)
  both = np.concatenate([best_QK[better], key_QI[better]], axis=1)
  best_QK[better] = np.partition(both, -k, axis=1)[:, -k:]


def _lower_bound(score_QI, k):
  """A score for each query that at least k of its scores reach, [Q].

  The k-th largest of the maxima of groups: much quicker than the k-th largest
  score, and nearly as high.
  """
  queries, width = score_QI.shape
  k = min(k, width)
  groups = min(width, max(128, 4 * k))
  size = width // groups
  grouped = score_QI[:, : size * groups].reshape(queries, size, groups)
  return np.partition(grouped.max(axis=1), -k, axis=1)[:, -k]


def pack(score: np.ndarray, position: np.ndarray) -> np.ndarray:
  """One int64 that sorts by score, and the smaller position above at a tie.

  The bits of a float32 sort as an int32 once those of negative numbers are
  flipped; they take the upper half, the complement of the position the lower.
  """
  bits = np.ascontiguousarray(score).view(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  return (bits.astype(np.int64) << 32) | (_LOW - position)


def unpack(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Keys -> positions (-1 where empty) and scores (-inf where empty)."""
  bits = (key >> 32).astype(np.int32)
  bits = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
  empty = key == EMPTY
  position = np.where(empty, -1, _LOW - (key & _LOW))
  return position, np.where(empty, np.float32(-np.inf), bits.view(np.float32))
