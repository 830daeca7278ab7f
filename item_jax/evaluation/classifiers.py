"""Classifies frozen embeddings by nearest neighbours and logistic regression.

Both learn from the training rows only; validation picks their one setting.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from item_jax.evaluation.labelled import Rows
from item_jax.evaluation.labels import TOP
from item_jax.evaluation.search import search

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
# Of rows of mean squared length 1, so it means the same for every width.
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # C, the inverse of the penalty
# Largest gradient of the mean loss at which a fit ends; below it accuracies
# move by less than a tenth of their interval. The larger C, the flatter the
# loss and the farther away is its lowest point: beyond 10 the gradient falls
# with it.
_TOLERANCE = 1e-4
_MOST_STEPS = 2_000
_ROWS = 4096  # rows ranked at a time, each with a number for every class


class Fitted(NamedTuple):
  """The chosen setting, its accuracy on validation, and test predictions."""

  chosen: dict
  val_accuracy: float
  ranked_Q5: np.ndarray  # classes, likeliest first; -1 where there are no more


def nearest(
  train: Rows,
  val: Rows,
  test: Rows,
  *,
  train_N: np.ndarray,
  val_M: np.ndarray,
  choices: Sequence[int] = NEIGHBOURS,
) -> Fitted:
  """Predicts by the votes of the k nearest neighbours by cosine.

  Args:
    train_N, val_M: int, the rows' classes, all those of training from 0 on.
    choices: values of k; the best on validation is taken, of equals the
      smallest.
  """
  parts = (train, val, test)
  ends = np.cumsum([len(rows.categories) for rows in parts])
  vectors_ND = np.concatenate(
    [np.asarray(rows.vectors_ND, np.float32) for rows in parts]
  )
  choices = sorted({min(k, len(train_N)) for k in choices})
  # Ids are unique in a part; rows without ids are numbered in each from 0 on.
  ids = [
    f"{part} {name}" for part, rows in enumerate(parts) for name in rows.ids
  ]
  found = search(
    vectors_ND,
    ids,
    k=choices[-1],
    queries=np.arange(ends[0], ends[2]),
    index=np.arange(ends[0]),
  )
  label_QK = train_N[found.rows_QK]
  size = int(train_N.max()) + 1
  of_val = label_QK[: len(val_M)]
  scores = {
    k: float((vote(of_val, size, k)[:, 0] == val_M).mean()) for k in choices
  }
  k = max(scores, key=lambda k: (scores[k], -k))
  return Fitted({"k": k}, scores[k], vote(label_QK[len(val_M) :], size, k))


def vote(label_QK: np.ndarray, size: int, k: int) -> np.ndarray:
  """Ranks the classes by the votes of the first k neighbours.

  Of equal votes the class whose first neighbour is nearer comes first; so do
  classes met beyond the k follow those that got votes.

  Returns:
    int [Q, 5], or fewer; -1 where no more classes were met.
  """
  deep = label_QK.shape[1]
  ranked = []
  for first in range(0, len(label_QK), _ROWS):
    some_QK = label_QK[first : first + _ROWS]
    line_Q = np.arange(len(some_QK))
    key_QC = np.full((len(some_QK), size), -deep)
    for near in range(deep - 1, -1, -1):
      key_QC[line_Q, some_QK[:, near]] = -near
    for near in range(k):
      key_QC[line_Q, some_QK[:, near]] += deep + 1
    best_QT = np.argsort(-key_QC, axis=1, kind="stable")[:, :TOP]
    met_QT = np.take_along_axis(key_QC, best_QT, axis=1) > -deep
    ranked.append(np.where(met_QT, best_QT, -1))
  return np.concatenate(ranked)


def logistic(
  train: Rows,
  val: Rows,
  test: Rows,
  *,
  train_N: np.ndarray,
  val_M: np.ndarray,
  choices: Sequence[float] = STRENGTHS,
) -> Fitted:
  """Predicts by multinomial logistic regression with an L2 penalty.

  Rows are centred at the training rows' mean and divided by one number, the
  root of their mean squared length. Not value by value: that would blow up
  directions that hold nothing but noise, and undo the weights of a fusion.

  Args:
    train_N, val_M: int, the rows' classes, all those of training from 0 on.
    choices: values of C, tried in ascending order until the accuracy on
      validation falls; of equals the smallest.
  """
  middle_D = np.mean(train.vectors_ND, axis=0, dtype=np.float64)
  middle_D = middle_D.astype(np.float32)

  def centred(vectors_ND):
    return np.asarray(vectors_ND, np.float32) - middle_D

  train_ND = centred(train.vectors_ND)
  # Rows that are all the same have no length; then the largest class wins.
  square = np.vecdot(train_ND, train_ND).mean(dtype=np.float64)
  scale = np.float32(np.sqrt(square) or 1)
  train_ND /= scale
  val_MD = centred(val.vectors_ND) / scale
  best: Any = None
  best_score, converged = -1.0, False
  for strength in sorted(choices):
    model = _model(strength)
    ended = _fit(model, train_ND, train_N)
    score = _accuracy(model, val_MD, val_M)
    if score < best_score:
      break
    if score > best_score:
      best, best_score, converged = model, score, ended
  assert best is not None  # an accuracy is at least 0
  ranked = [
    _ranked(best, centred(some_BD) / scale)
    for some_BD in _blocks(test.vectors_ND)
  ]
  return Fitted(
    {"C": best.C, "converged": converged},
    best_score,
    np.concatenate(ranked),
  )


def _blocks(vectors_ND):
  for first in range(0, len(vectors_ND), _ROWS):
    yield vectors_ND[first : first + _ROWS]


def _ranked(model, vectors_BD) -> np.ndarray:
  """The model's likeliest classes, int [B, 5]; of equals the first."""
  score_BC = model.decision_function(vectors_BD)  # has no ties at zero
  if score_BC.ndim == 1:  # two classes: the second one's
    score_BC = np.stack([-score_BC, score_BC], axis=1)
  order_BC = np.argsort(-score_BC, axis=1, kind="stable")
  return order_BC[:, :TOP].copy()  # not a view, which would keep the rest


def _accuracy(model, vectors_ND, class_N) -> float:
  best = [_ranked(model, some_BD)[:, 0] for some_BD in _blocks(vectors_ND)]
  return float((np.concatenate(best) == class_N).mean())


def _model(strength: float):
  # Here and not above: it takes a second, and a notebook may want none of it.
  from sklearn.linear_model import LogisticRegression

  tolerance = _TOLERANCE * min(1, 10 / strength)
  return LogisticRegression(C=strength, tol=tolerance, max_iter=_MOST_STEPS)


def _fit(model, train_ND, train_N) -> bool:
  """Fits the model; returns whether it converged."""
  from sklearn.exceptions import ConvergenceWarning

  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ConvergenceWarning)
    model.fit(train_ND, train_N)
  return not any(issubclass(one.category, ConvergenceWarning) for one in caught)
