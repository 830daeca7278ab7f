"""Scores which modality decides an embedding: the image, the title, or both.

Queries are shown to the model in disturbed views (one side missing, of another
product, or without content) and searched in an index that is left as it is.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.changed import MEASURES, score_changed
from item_jax.evaluation.items import Items, check_items
from item_jax.evaluation.modality_table import VIEWS, Modality

SWAPS = {"title": "other_title", "image": "other_image"}
# Mean movements whose sum is below this are the rounding of float32, squared.
_STILL = 1e-10
_LENGTHS = 4  # groups of titles by length, of about as many listings each


class Embedded(NamedTuple):
  """Embeddings of a split's N listings, and of M of them disturbed.

  items: of all N. both_ND: float, as they are. rows_M: row numbers of those
  that have an image and a title. views: {name of `VIEWS` but "both": float
  [M, D]}. words_M: int, words of their titles.
  """

  items: Items
  both_ND: np.ndarray
  rows_M: np.ndarray
  views: Mapping[str, np.ndarray]
  words_M: np.ndarray


def score_views(
  embedded: Embedded,
  *,
  largest: int = 5,
  bootstrap: int = 1000,
  seed: int = 0,
) -> Modality:
  """Scores each view as queries against the undisturbed index.

  A query's own listing is taken out of the index, in every view. Where no
  query has another listing of its product there are no scores, and the cosines
  remain.

  Args:
    embedded: what was embedded.
    largest: leaf categories with a line of their own.
    bootstrap: resamples (of products) for the intervals; 0: none.
    seed: of the resamples.

  Raises:
    UserError: a vector has no direction, or the items are not as they must be.
    ValueError: other views than expected, or of another shape.
  """
  items, rows_M = embedded.items, np.asarray(embedded.rows_M)
  check_items(items)
  _check_shapes(embedded)
  own_MD = np.asarray(embedded.both_ND)[rows_M]
  views = {"both": own_MD, **{v: embedded.views[v] for v in [*VIEWS][1:]}}
  moves = {name: _moves(own_MD, view) for name, view in views.items()}
  products = metrics.own_names(items.products[row] for row in rows_M)
  held = Counter(filter(None, items.products))
  values = {}
  if any(held[name] > 1 for name in products):
    values = {name: _score(embedded, view) for name, view in views.items()}
  lines = _Lines(moves, values, products, bootstrap, seed)
  every_M = np.ones(len(rows_M), bool)
  return Modality(
    counts={
      "rows": len(items.ids),
      "listings": len(rows_M),
      "queries": int(lines.scored.sum()),
      "products": len(set(products)),
      "seed": seed,
    },
    balance=lines.balance(every_M),
    views=lines.views(),
    by_category=[
      lines.group(name, within_M)
      for name, within_M in _by_category(items, rows_M, largest)
    ],
    by_title_length=[
      lines.group(name, within_M)
      for name, within_M in _by_length(np.asarray(embedded.words_M))
    ],
  )


def balance(title: float, image: float) -> float | None:
  """(title - image) / (title + image), in [-1, 1].

  Args:
    title, image: how far embeddings move on average (one minus the cosine)
      when their title, or image, becomes that of another product.

  Returns:
    1 where the title alone moves them, -1 where the image alone does; None
    where neither does.
  """
  return None if title + image < _STILL else (title - image) / (title + image)


def _moves(one_BD, other_BD) -> np.ndarray:
  """One minus the cosine of rows with rows, float64 [B].

  As half the square of what lies between their directions: one minus a cosine
  near 1 would be the rounding of float32 alone.
  """
  directions = []
  for vectors in (one_BD, other_BD):
    vectors_BD = np.asarray(vectors, float)
    length_B1 = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
    if not (length_B1 > 0).all():
      row = int(np.flatnonzero(~(length_B1[:, 0] > 0))[0])
      raise UserError(f"the embedding of listing {row} has no direction")
    directions.append(vectors_BD / length_B1)
  return ((directions[0] - directions[1]) ** 2).sum(1) / 2


def _check_shapes(embedded: Embedded) -> None:
  expected = [*VIEWS][1:]
  if sorted(embedded.views) != sorted(expected):
    raise ValueError(
      f"views {sorted(embedded.views)}; expected {sorted(expected)}"
    )
  N, M = len(embedded.items.ids), len(embedded.rows_M)
  shape = (M, np.shape(embedded.both_ND)[1])
  wrong = {v: x.shape for v, x in embedded.views.items() if x.shape != shape}
  if len(embedded.both_ND) != N or wrong or len(embedded.words_M) != M:
    raise ValueError(
      f"{N} items, {len(embedded.both_ND)} embeddings, {M} disturbed listings"
      f" of {len(embedded.words_M)} titles; expected views of {shape}, got"
      f" {wrong or 'those'}"
    )


def _score(embedded: Embedded, view_MD) -> dict[str, np.ndarray]:
  """Each measure of a view's M listings, nan of those that are no query."""
  rows_M = np.asarray(embedded.rows_M)
  scores = score_changed(
    view_MD, embedded.both_ND, embedded.items, rows_M=rows_M
  )
  place = {row: m for m, row in enumerate(rows_M.tolist())}
  at_Q = [place[row] for row in scores.rows_Q.tolist()]
  found = {}
  for name in MEASURES:
    found[name] = np.full(len(rows_M), np.nan)
    found[name][at_Q] = scores.values[name]
  return found


class _Lines(NamedTuple):
  """Makes the lines of the tables."""

  moves: dict[str, np.ndarray]  # of each view, one minus the cosine, [M]
  values: dict[str, dict[str, np.ndarray]]  # of each view; {} without queries
  products: list[str]  # of the M listings, none of them empty
  bootstrap: int
  seed: int

  @property
  def scored(self) -> np.ndarray:
    """Which listings are queries that have scores."""
    if not self.values:
      return np.zeros(len(self.products), bool)
    return ~np.isnan(self.values["both"][MEASURES[0]])

  def means(self, values: Mapping[Any, np.ndarray], within_M):
    """Means in each resample, [resamples, len(values)]; None without any."""
    products = [self.products[m] for m in np.flatnonzero(within_M)]
    if not self.bootstrap or len(set(products)) < 2:
      return None
    return metrics.resample(
      {name: value_M[within_M] for name, value_M in values.items()},
      products,
      resamples=self.bootstrap,
      seed=self.seed,
    )

  def balance(self, within_M) -> dict[str, Any]:
    """The balance score of some listings."""
    moves = {side: self.moves[view] for side, view in SWAPS.items()}
    title, image = (float(move_M[within_M].mean()) for move_M in moves.values())
    means_RM = self.means(moves, within_M)
    interval = None
    if means_RM is not None:
      drawn = [balance(*line) for line in means_RM.tolist()]
      drawn = [value for value in drawn if value is not None]
      interval = metrics.interval(np.array(drawn)) if drawn else None
    return {
      "value": balance(title, image),
      "interval": interval,
      "title_moves": title,
      "image_moves": image,
    }

  def views(self) -> dict[str, dict[str, Any]]:
    """Scores of each view, what they lose against both, and their cosines."""
    every_M = np.ones(len(self.products), bool)
    parts = [({(v, "cosine"): 1 - x for v, x in self.moves.items()}, every_M)]
    scored = {}
    for view, own in self.values.items():
      for measure in MEASURES:
        scored[view, measure] = own[measure]
        if view != "both":
          drop_M = self.values["both"][measure] - own[measure]
          scored[view, f"{measure} drop"] = drop_M
    if scored:
      parts.append((scored, self.scored))
    lines = {view: {} for view in VIEWS}
    for figures, within_M in parts:
      means_RM = self.means(figures, within_M)
      for m, ((view, name), value_M) in enumerate(figures.items()):
        lines[view][name] = {
          "value": float(value_M[within_M].mean()),
          "interval": None
          if means_RM is None
          else metrics.interval(means_RM[:, m]),
        }
    return lines

  def group(self, name: str, within_M) -> dict[str, Any]:
    """Recall of each view and the balance score of some listings."""
    line = {"group": name, "listings": int(within_M.sum())}
    scored_M = within_M & self.scored
    line["queries"] = int(scored_M.sum())
    for measure in MEASURES:
      line[measure] = {
        view: float(own[measure][scored_M].mean())
        for view, own in self.values.items()
        if scored_M.any()
      }
    line["balance"] = self.balance(within_M)
    return line


def _by_category(items: Items, rows_M, largest: int):
  """(name, which of the M listings) of the largest leaf categories."""
  named = [items.category(row) for row in rows_M]
  held = Counter(filter(None, named))
  for name, _ in sorted(held.items(), key=lambda x: (-x[1], x[0]))[:largest]:
    yield name, np.array([one == name for one in named])


def _by_length(words_M: np.ndarray):
  """(name, which of the M listings) of titles with few words to many."""
  ranked = np.sort(words_M)
  ends = [ranked[(len(ranked) - 1) * n // _LENGTHS] for n in range(1, _LENGTHS)]
  group_M = np.searchsorted(np.unique(ends), words_M)
  for number in np.unique(group_M):
    within_M = group_M == number
    low, high = words_M[within_M].min(), words_M[within_M].max()
    yield f"{low} to {high} words" if low < high else f"{low} words", within_M
