"""Chooses on validation what each part of a vector counts."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.ranking import Neighbours
from item_jax.evaluation.search import search
from item_jax.evaluation.transform import Transform, fill, unit
from item_jax.evaluation.trials import ROUNDING, Trial, likeliest, worth

# Weights are tried in tenths, counted in thousandths.
_TENTHS, _TENTH = 10, 100
# The least that a part may have beside [CLS]. The last, the title, is all of
# its side: where titles mislead, less is better, and a title alone is what it
# was. Of an image's two parts one with too little would leave the other alone.
_LEAST, _LEAST_OF_TITLE = 20, 1
Weights = tuple[float, ...]


def grid(parts: int) -> list[Weights]:
  """All weights of so many parts in steps of a tenth, of a sum of one."""
  ends = itertools.combinations_with_replacement(range(_TENTHS + 1), parts - 1)
  return [
    tuple(
      (last - first) / _TENTHS
      for first, last in itertools.pairwise((0, *inner, _TENTHS))
    )
    for inner in ends
  ]


def best_weights(scores: Mapping[Weights, float]) -> Weights:
  """Of equal scores the most even weights, and then the smaller first ones."""

  def uneven(weights: Weights) -> float:
    return max(abs(weight - 1 / len(weights)) for weight in weights)

  return min(scores, key=lambda one: (-scores[one], uneven(one), one))


def choose_weights(
  val_ND: np.ndarray,
  val_items: Items,
  widths: Sequence[int],
  *,
  given: Weights | None = None,
  **how,
) -> Weights | None:
  """Returns what `attempt_weights` finds; `given` where it is no better.

  As `trials.likeliest` has it. Of what no row has, as of `attempt_weights`.

  Args:
    given: what must be surpassed; None: the weights that the rows have.
  """
  plain = Transform()
  if given:
    plain = _transform(_lengths(unit(val_ND), widths), widths, given)
  vectors_ND = fill(plain.apply(val_ND))
  scores = retrieval.score_vectors(vectors_ND, val_items, **how)
  tried = attempt_weights(val_ND, val_items, widths, **how)
  trials = [Trial(plain, vectors_ND.shape[1], scores), *tried]
  return trials[likeliest(trials)].transform.shares


def with_absent(shares: Weights, trained: Weights) -> Weights:
  """Gives sides that no row had, 0 of `shares`, what they weighed before.

  The others share the rest as they did. The first part, [CLS], may be 0.
  """
  kept_P = np.where(shares, 0.0, trained)
  kept_P[0] = 0
  return tuple((np.array(shares) * (1 - kept_P.sum()) + kept_P).tolist())


def attempt_weights(
  val_ND: np.ndarray,
  val_items: Items,
  widths: Sequence[int],
  *,
  search: Callable[..., Neighbours] = search,
) -> list[Trial]:
  """Finds the weights of a vector's parts whose validation scores best.

  A cosine becomes the weighted sum of the parts' own cosines. Begins with even
  weights, what is over with the first, and moves a tenth from one part to
  another while `trials.worth` grows. Only the first part, [CLS], which every
  row has, may get nothing: a row that shows one side alone would have nothing
  otherwise. Another that came down to a tenth may come to a fiftieth, and the
  last to a thousandth. A part that no row has, such as the title's of images
  alone, counts 0 here; in rows that do have it, it keeps what it weighed
  against the others together.

  Args:
    val_ND: rows whose parts have a length each that no row changes, but for
      parts that are zeros, of what a row has none of.
    widths: of the parts, side by side.
    search: as of `retrieval.score`.

  Returns:
    All that was tried, the best first.
  """
  unit_ND = unit(np.asarray(val_ND))
  lengths_P, trials = _lengths(unit_ND, widths), {}

  def found(weights: tuple[int, ...]) -> float:
    if weights not in trials:
      shares = tuple(weight / (_TENTHS * _TENTH) for weight in weights)
      made = _transform(lengths_P, widths, shares)
      vectors_ND = fill(made.apply(unit_ND))
      scores = retrieval.score_vectors(vectors_ND, val_items, search=search)
      trials[weights] = Trial(made, vectors_ND.shape[1], scores)
    return worth(trials[weights].scores)

  held = np.flatnonzero(lengths_P).tolist()
  each, more = divmod(_TENTHS, len(held)) if held else (0, 0)
  best = tuple(
    _TENTH * (each * (part in held) + more * (held[:1] == [part]))
    for part in range(len(widths))
  )
  if len(held) == 2:  # few enough for all of them: a climb may end below
    best = max((best, *_of_two(best, held)), key=found)
  for moves in (_by_tenths, _by_tenths_or_to_the_least):
    while True:
      near = max(moves(best, held), key=found, default=best)
      if found(near) <= found(best) + ROUNDING:
        break
      best = near
  return [trials.pop(best), *trials.values()]


def _of_two(begun: tuple[int, ...], held: list[int]):
  """Yields all tenths of the two parts that rows have, beside `begun`."""
  first, second = held
  for tenths in range(bool(first), _TENTHS):
    yield _moved(begun, first, second, begun[first] - _TENTH * tenths)


def _by_tenths(weights: tuple[int, ...], held: list[int]):
  """Yields weights of which a tenth goes from one part of `held` to another."""
  for giver, taker in itertools.permutations(held, 2):
    if weights[giver] >= _TENTH * (1 + bool(giver)):
      yield _moved(weights, giver, taker, _TENTH)


def _by_tenths_or_to_the_least(weights: tuple[int, ...], held: list[int]):
  """... and those of which a part that has no more than a tenth gives it."""
  yield from _by_tenths(weights, held)
  for giver, taker in itertools.permutations(held, 2):
    title = giver == len(weights) - 1
    least = _LEAST_OF_TITLE if title else _LEAST
    if giver and _TENTH <= weights[giver] < 2 * _TENTH:
      yield _moved(weights, giver, taker, weights[giver] - least)


def _moved(
  weights: tuple[int, ...], giver: int, taker: int, what: int
) -> tuple[int, ...]:
  return tuple(
    weight + what * ((part == taker) - (part == giver))
    for part, weight in enumerate(weights)
  )


def _transform(
  lengths_P: np.ndarray, widths: Sequence[int], shares: Weights
) -> Transform:
  """Gives each part its share; one of no length stays as it is."""
  scale_P = np.divide(
    np.sqrt(shares), lengths_P, out=np.ones(len(widths)), where=lengths_P > 0
  )
  scale_D = np.repeat(scale_P, widths).astype(np.float32)
  return Transform("weighted", scale_D=scale_D, shares=tuple(shares))


def _lengths(unit_ND: np.ndarray, widths: Sequence[int]) -> np.ndarray:
  """Of each part in the rows that have most beside it; 0 where none has it."""
  parts = np.split(unit_ND, np.cumsum(widths)[:-1], axis=1)
  length_NP = np.stack([np.linalg.norm(part, axis=1) for part in parts], axis=1)
  rank_NP = (length_NP > 0) * (length_NP > 0).sum(1, keepdims=True)
  most_NP = (rank_NP > 0) & (rank_NP == rank_NP.max(0))
  return length_NP.sum(0, where=most_NP) / np.maximum(most_NP.sum(0), 1)
