"""Scores how well the leaf category of listings is found."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.comparison import files
from item_jax.evaluation.labelled import Rows
from item_jax.evaluation.labels import NothingToScore
from item_jax.evaluation.probe import probe as probe_vectors
from item_jax.evaluation.probe import probe_exports

_COUNTS = (
  "rows",
  "without_category",
  "unknown_category",
  "classes",
  "classes_with_support",
)
_NONE_Q = np.zeros(0, np.int64)


class Category(NamedTuple):
  """The predictions of one classifier on the scored split.

  The arrays, int [Q], are empty where only the scores are known.
  """

  accuracy: float
  macro_f1: float
  counts: dict  # listings left out, and how the classifier was set
  rows_Q: np.ndarray = _NONE_Q  # which listings
  true_Q: np.ndarray = _NONE_Q  # their classes
  predicted_Q: np.ndarray = _NONE_Q


def probe(train: Path, val: Path, test: Path) -> Category:
  """Classifies frozen vectors by logistic regression on three exports.

  Raises:
    NothingToScore: the catalogue's categories allow none.
  """
  return _logistic(
    probe_exports(train, val, test, bootstrap=0, kinds=("logistic",))
  )


def probe_rows(train: Rows, val: Rows, test: Rows) -> Category:
  """Does what `probe` does, with vectors in memory."""
  return _logistic(
    probe_vectors(train, val, test, bootstrap=0, kinds=("logistic",))
  )


def _logistic(found: dict) -> Category:
  scores = found["logistic"]
  answers = found["answers"]["logistic"]
  return Category(
    scores["accuracy"],
    scores["macro_f1"],
    {name: found[name] for name in _COUNTS}
    | {name: scores[name] for name in ("C", "converged")},
    answers.rows_Q,
    answers.true_Q,
    answers.said_Q,
  )


def read_own(path: Path) -> Category:
  """Reads a model's own scores as `item-jax predict --json` wrote them.

  Raises:
    NothingToScore: no listing has a category that the model knows.
  """
  scores = files.read_json(path)
  if scores is None:
    raise NothingToScore("no listing has a category of training")
  counts = {name: scores[name] for name in _COUNTS}
  return Category(scores["accuracy"], scores["macro_f1"], counts)
