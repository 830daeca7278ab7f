"""Tries changes of vectors on validation, and takes what surely finds more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from item_jax.evaluation import metrics, retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import Scores
from item_jax.evaluation.transform import (
  GRID,
  Recipe,
  Transform,
  fill,
  make,
  measure,
)

# Products of validation by whose queries a choice is made: of fewer, chance
# alone makes some of many choices look good. Where no proof is asked for, more.
_FEWEST, FEWEST_UNPROVED = 5, 20
# What a cosine between products counts beside MAP@10. On few queries many
# weights find all, or as much but for one of them, and are far from alike on
# other queries. On eleven catalogues .3 to 1 found the same, and more than 0.
_APART = 0.5
ROUNDING = 1e-5  # of cosines in float32, many times: less is no difference


class Trial(NamedTuple):
  """A transform, and what validation scores in it."""

  transform: Transform
  dims: int
  scores: Scores

  def to_dict(self) -> dict[str, Any]:
    """Returns kind, dims, ridge, shares (of parts, or None) and map@10."""
    return {
      "kind": self.transform.kind,
      "dims": self.dims,
      "ridge": self.transform.ridge,
      "shares": self.transform.shares,
      "map@10": self.scores.summary["map@10"],
    }


def attempt(
  train_ND: np.ndarray,
  val_ND: np.ndarray,
  val_items: Items,
  *,
  recipes: Sequence[Recipe] = GRID,
  sides: Mapping[str, np.ndarray] | None = None,
  kind_N: Sequence[str] | None = None,
) -> list[Trial]:
  """Scores validation in the transform of each recipe.

  Args:
    train_ND: what it is learnt from; rows of zeros where there is nothing.
    val_ND: likewise. val_items: what the rows are.
    recipes: where there is nothing to learn from, such as images of a catalogue
      without any, of these only the one that learns nothing.
    sides: of the transforms that centre; kind_N: of `val_ND`, as of `apply`.

  Raises:
    UserError: all of them learn, and there is nothing to learn from; or no two
      rows are of one product.
  """
  plain, spectrum, trials = GRID[0], None, []
  if plain not in recipes or train_ND.any():
    spectrum = measure(train_ND)
  for recipe in recipes if spectrum else (plain,):
    transform = make(spectrum, recipe) if spectrum else Transform()
    if sides and transform.mean_D is not None:
      transform = replace(transform, sides=sides)
    vectors_NE = fill(transform.apply(val_ND, kind_N))
    scores = retrieval.score_vectors(vectors_NE, val_items)
    trials.append(Trial(transform, vectors_NE.shape[1], scores))
  return trials


def best_of(trials: Sequence[Trial]) -> int:
  """The number of the trial with the best MAP@10, of equal ones the first.

  The first of all, the simplest, stays where the gain may be chance. Of many
  that are tried some look better on the rows that they are chosen by, so the
  gain is measured on others: on each half of the products, of the trial that is
  best on the other half. It may be chance where the 95 % interval of the paired
  bootstrap over products reaches zero, or where there are few products.
  """
  scores = [trial.scores for trial in trials]
  products = scores[0].products
  number_Q, sizes = metrics.number_groups(products)
  if len(sizes) < _FEWEST:
    return 0
  found_TQ = np.stack([one.values["map@10"] for one in scores])
  odd_Q = number_Q % 2 == 1
  crossed_Q = np.where(
    odd_Q,
    found_TQ[found_TQ[:, ~odd_Q].mean(axis=1).argmax()],
    found_TQ[found_TQ[:, odd_Q].mean(axis=1).argmax()],
  )
  gain = metrics.compare(
    {"map@10": crossed_Q}, {"map@10": found_TQ[0]}, products
  )
  if gain["map@10"]["interval"][0] <= 0:
    return 0
  found = [one.summary["map@10"] for one in scores]
  return found.index(max(found))


def likeliest(trials: Sequence[Trial]) -> int:
  """The number of the trial of the highest `worth`, of equal ones the first.

  For choices of which none is the simplest, such as what parts weigh: the gain
  over the first needs no proof, as in `best_of`, but must be there, taken over
  both halves of the products, each with the trial best on the other. The first
  stays where there are few products.
  """
  number_Q, sizes = metrics.number_groups(trials[0].scores.products)
  if len(sizes) < FEWEST_UNPROVED:
    return 0
  measured_TMQ = np.stack([_measured(trial.scores) for trial in trials])

  def best(of_Q: np.ndarray) -> int:
    worth_T = np.array([_worth(one_MQ[:, of_Q]) for one_MQ in measured_TMQ])
    return int((worth_T > worth_T.max() - ROUNDING).argmax())

  odd_Q = number_Q % 2 == 1
  crossed_MQ = np.where(
    odd_Q, measured_TMQ[best(~odd_Q)], measured_TMQ[best(odd_Q)]
  )
  there = _worth(crossed_MQ) > _worth(measured_TMQ[0]) + ROUNDING
  return best(np.ones_like(odd_Q)) if there else 0


def worth(scores: Scores) -> float:
  """MAP@10 and, as `_APART` says, how far products are held apart.

  If they are: where others are nearer, all cosines are better the less they
  differ, and that is no use.
  """
  return _worth(_measured(scores))


def _measured(scores: Scores) -> np.ndarray:
  return np.stack([scores.values["map@10"], held_apart(scores)])


def _worth(measured_MQ: np.ndarray) -> float:
  found, apart = measured_MQ.mean(axis=1).tolist()
  return found + _APART * max(apart, 0.0)


def held_apart(scores: Scores) -> np.ndarray:
  """How much nearer a query's product is than any other, float64 [Q].

  The cosine of the product's furthest listing less that of the nearest listing
  of another. What is not among those listed counts as the last of them.
  """
  near_QK, cosine_QK = scores.nearest_QK, scores.cosine_QK.astype(np.float64)
  product_N = np.asarray(scores.items.products, object)
  own_QK = product_N[near_QK] == product_N[scores.rows_Q][:, None]
  listed_QK = near_QK >= 0
  last_Q = np.where(listed_QK, cosine_QK, np.inf).min(axis=1)
  own_QK, other_QK = own_QK & listed_QK, ~own_QK & listed_QK
  furthest_Q = np.where(own_QK, cosine_QK, np.inf).min(axis=1)
  nearest_Q = np.where(other_QK, cosine_QK, -np.inf).max(axis=1)
  whole_Q = own_QK.sum(axis=1) == scores.relevant_Q
  return np.where(whole_Q, furthest_Q, last_Q) - np.where(
    other_QK.any(axis=1), nearest_Q, last_Q
  )
