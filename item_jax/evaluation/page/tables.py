"""Counts what a page shows of categories: by category, and confused ones."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from item_jax.evaluation.items import Items
from item_jax.evaluation.labels import Predictions, compare_labels
from item_jax.evaluation.retrieval import Scores


class CategoryLine(NamedTuple):
  """A category's queries, and the mean of a measure over them by system."""

  category: str
  queries: int
  means: dict[str, float]


def by_category(
  scores: Mapping[str, Scores], measure: str
) -> list[CategoryLine]:
  """Means over the queries of each category, the most queries first."""
  first = next(iter(scores.values()))
  names_Q = np.array(_categories(first.items, first.rows_Q), dtype=object)
  counted = Counter(name for name in names_Q.tolist() if name)
  lines = []
  for name, count in sorted(counted.items(), key=lambda x: (-x[1], x[0])):
    own_Q = names_Q == name
    means = {
      system: float(one.values[measure][own_Q].mean())
      for system, one in scores.items()
    }
    lines.append(CategoryLine(name, count, means))
  return lines


def compare_nearest(scores: Scores) -> Predictions | None:
  """Compares the category of each query with that of its nearest row.

  Queries that have no category, or whose nearest row has none, are left out;
  None where all are.
  """
  true = _categories(scores.items, scores.rows_Q)
  nearest = _categories(scores.items, scores.nearest_QK[:, 0])
  known = [(t, n) for t, n in zip(true, nearest, strict=True) if t and n]
  if not known:
    return None
  true, nearest = zip(*known, strict=True)
  return compare_labels(true, nearest)


def most_confused(
  given: Predictions, most: int = 20
) -> list[tuple[str, str, int, int]]:
  """Returns (category, the nearest row's, queries, of so many), most first."""
  pairs = zip(given.true_Q.tolist(), given.predicted_Q.tolist(), strict=True)
  counted = Counter((t, p) for t, p in pairs if t != p)
  size_C = np.bincount(given.true_Q, minlength=len(given.classes))
  ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
  return [
    (given.classes[t], given.classes[p], count, int(size_C[t]))
    for (t, p), count in ordered[:most]
  ]


def _categories(items: Items, rows) -> list[str]:
  return [items.category(row) if row >= 0 else "" for row in rows.tolist()]
