"""Exports or predictions in, what is right of the leaf category out."""

from pathlib import Path
from typing import NamedTuple

from item_jax.comparison import files
from item_jax.evaluation.labelled import Rows
from item_jax.evaluation.labels import NothingToScore
from item_jax.evaluation.probe import Probe
from item_jax.evaluation.probe import probe as probe_parts

_COUNTS = (
  "rows",
  "without_category",
  "unknown_category",
  "classes",
  "classes_with_support",
)


class Category(NamedTuple):
  """What one classifier said of the listings of the scored split."""

  accuracy: float
  macro_f1: float
  counts: dict  # what was left out, and how the classifier was set
  # int [Q] each, where it is known listing by listing: which listing, its
  # class and the one it was given.
  rows_Q: object = ()
  true_Q: object = ()
  said_Q: object = ()


def probe(train: Path, val: Path, test: Path) -> Category:
  """Logistic regression on frozen vectors, by exports of the three splits.

  Raises:
    NothingToScore: the catalogue's categories allow none.
  """
  return _right(probe_parts(train, val, test, **_HOW))


def probe_rows(train: Rows, val: Rows, test: Rows) -> Category:
  """As `probe`, of vectors at hand."""
  return _right(probe_parts(train, val, test, **_HOW))


_HOW = {"bootstrap": 0, "kinds": ("logistic",)}


def _right(found: Probe) -> Category:
  answers = found.predictions["logistic"]
  return Category(
    found["logistic"]["accuracy"],
    found["logistic"]["macro_f1"],
    {name: found[name] for name in _COUNTS}
    | {name: found["logistic"][name] for name in ("C", "converged")},
    answers.rows_Q,
    answers.true_Q,
    answers.predicted_Q,
  )


def own(said: Path) -> Category:
  """A model's own predictions, by what `item-jax predict --json` wrote.

  Raises:
    NothingToScore: no listing has a category that the model knows.
  """
  scores = files.read_json(said)
  if scores is None:
    raise NothingToScore("no listing has a category of training")
  return Category(
    scores["accuracy"],
    scores["macro_f1"],
    {name: scores[name] for name in _COUNTS},
  )
