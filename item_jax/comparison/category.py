"""Exports or predictions in, what is right of the leaf category out."""

from pathlib import Path

import numpy as np

from item_jax.comparison import files
from item_jax.comparison.score import Category
from item_jax.errors import UserError
from item_jax.evaluation.probe import probe_exports

_COUNTS = (
  "rows",
  "without_category",
  "unknown_category",
  "classes",
  "classes_with_support",
)


def probe(train: Path, val: Path, test: Path) -> Category:
  """Logistic regression on frozen vectors, by exports of the three splits."""
  found = probe_exports(train, val, test, bootstrap=0)
  answers = found["answers"]["logistic"]
  return Category(
    found["logistic"]["accuracy"],
    found["logistic"]["macro_f1"],
    answers.rows_Q,
    answers.correct_Q,
    {name: found[name] for name in _COUNTS},
  )


def own(said: Path) -> Category:
  """A model's own predictions, by what `item-jax predict --json` wrote.

  Raises:
    UserError: no listing has a category that the model knows.
  """
  scores = files.read_json(said)
  if scores is None:
    raise UserError("no listing has a category of training")
  return Category(
    scores["accuracy"],
    scores["macro_f1"],
    np.arange(0),
    np.arange(0, dtype=bool),
    {name: scores[name] for name in _COUNTS},
  )
