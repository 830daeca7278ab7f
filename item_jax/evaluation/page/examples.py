"""Chooses queries to look at, and finds who is near them in each system."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from item_jax.evaluation.retrieval import LISTED, Scores
from item_jax.evaluation.search import search

GROUPS = ("best", "worst", "random")


class Near(NamedTuple):
  """What one system finds near one query, best first.

  rows_K: row numbers. scores_K: cosines. hits_K: whether a row is of the
  query's product.
  """

  rows_K: list[int]
  scores_K: list[float]
  hits_K: list[bool]

  @property
  def failed(self) -> bool:
    """Whether none of them is of the query's product."""
    return not any(self.hits_K)


@dataclass(frozen=True)
class Example:
  """A query, row `row` of the split.

  groups: of GROUPS, why it is shown. relevant: other listings of its product.
  value: average precision of the first system. near: {system: Near}.
  """

  row: int
  groups: tuple[str, ...]
  relevant: int
  value: float
  near: dict[str, Near]

  @property
  def failed(self) -> list[str]:
    """The systems that find nothing of its product."""
    return [name for name, near in self.near.items() if near.failed]


def find_examples(
  scores: Scores,
  vectors: Mapping[str, Any],
  *,
  measure: str,
  count: int,
  seed: int = 0,
) -> list[Example]:
  """Chooses queries by one system's scores, and searches them in every system.

  Args:
    scores: of the system that says which queries are best and worst.
    vectors: {system: float [N, D]}.
    measure: of `scores.values`, that queries are ordered by.
    count, seed: as of `choose`.
  """
  chosen = choose(scores, measure=measure, count=count, seed=seed)
  items, queries = scores.items, list(chosen)
  rows_E, index = scores.rows_Q[queries], items.rows("index")
  # Exact, so it does not matter that only these are searched.
  found = {
    name: search(one, items.ids, k=LISTED, queries=rows_E, index=index)
    for name, one in vectors.items()
  }
  examples = []
  for place, query in enumerate(queries):
    row = int(rows_E[place])
    near = {
      name: _near(items.products, row, one.rows_QK[place], one.scores_QK[place])
      for name, one in found.items()
    }
    examples.append(
      Example(
        row,
        chosen[query],
        int(scores.relevant_Q[query]),
        float(scores.values[measure][query]),
        near,
      )
    )
  return examples


def _near(products: Sequence[str], row: int, rows_K, scores_K) -> Near:
  held = rows_K >= 0
  rows, own = rows_K[held].tolist(), products[row]
  return Near(
    rows,
    scores_K[held].astype(float).tolist(),
    # A row without a product is of no other row's.
    [bool(own) and products[other] == own for other in rows],
  )


def choose(
  scores: Scores, *, measure: str, count: int, seed: int = 0
) -> dict[int, tuple[str, ...]]:
  """Chooses a third of `count` queries each: the best, the worst, any.

  Of equal queries those with more relevant listings come first, then those of
  earlier rows. The best, and the worst, are of different products as long as
  there are others. The random ones are drawn from all queries, so one may be
  of the best too.

  Args:
    scores: of the Q queries.
    measure: of `scores.values`.
    count: at most so many are chosen, fewer where there are fewer queries.
    seed: of the random ones.

  Returns:
    {query, of 0..Q-1: its groups}; the best first, then the worst.
  """
  value_Q, relevant_Q = scores.values[measure], scores.relevant_Q
  share = -(-count // len(GROUPS))
  orders: dict[str, Iterable[int]] = {
    "best": _apart(np.lexsort((-relevant_Q, -value_Q)), scores.products),
    "worst": _apart(np.lexsort((-relevant_Q, value_Q)), scores.products),
    "random": np.random.default_rng(seed).permutation(len(value_Q)).tolist(),
  }
  chosen: dict[int, tuple[str, ...]] = {}
  for group, order in orders.items():
    for query in list(order)[: min(share, count)]:
      chosen[query] = (*chosen.get(query, ()), group)
  return dict(list(chosen.items())[:count])


def _apart(order: np.ndarray, products: list[str]) -> list[int]:
  """Puts the first query of each product before the others."""
  seen: set[str] = set()
  first, others = [], []
  for query in order.tolist():
    (others if products[query] in seen else first).append(query)
    seen.add(products[query])
  return first + others
