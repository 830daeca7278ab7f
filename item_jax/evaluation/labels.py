"""Scores predictions of the leaf category: accuracy, top-5 and macro-F1.

The classes are fixed by training. A row without a category is left out, and
so is one of a category that training does not have: no classifier of these
classes can name it. Both are counted. Macro-F1 is the mean of the F1 of the
classes that have scored rows; another one can still be predicted, wrongly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.ingest.readers.cells import is_absent

TOP = 5
# The measures that are printed, and under which name.
SHOWN = {"accuracy": "top-1", "top5": "top-5", "macro_f1": "macro-F1"}
# Of `summary` what depends on the rows alone, not on the predictions.
COUNTS = (
  *("rows", "without_category", "unknown_category"),
  *("classes", "classes_with_support"),
)


class NothingToScore(UserError):  # noqa: N818 - not always an error
  """The catalogue has no categories to learn, to choose by or to score."""


class Predictions(NamedTuple):
  """What one classifier predicted for the Q rows that are scored, of N."""

  classes: tuple  # C labels
  rows_Q: np.ndarray  # int, their row numbers among the N
  true_Q: np.ndarray  # int, class numbers
  predicted_Q: np.ndarray  # int, likewise
  correct_Q: np.ndarray  # bool
  top_Q: np.ndarray | None  # bool, true among the first five, if ranked
  without_category: int
  unknown_category: int


def compare_labels(
  true: Sequence, predicted: Sequence, ranked=None, *, classes: Sequence = ()
) -> Predictions:
  """Compares N true labels with N predicted ones.

  Args:
    true: labels (strings or integers); "", None or NaN where a row has none.
    predicted: a label of `classes` for each row.
    ranked: for each row its likeliest labels, best first, any number of them.
    classes: what can be predicted; by default all labels that occur.

  Raises:
    NothingToScore: no row is left.
    ValueError: lengths differ, or a prediction is no class.
  """
  true, predicted = list(true), list(predicted)
  ranked = None if ranked is None else list(ranked)
  if not len(true) == len(predicted) == len(true if ranked is None else ranked):
    raise ValueError(
      f"{len(true)} true labels, but {len(predicted)} predictions and"
      f" {len(predicted if ranked is None else ranked)} rankings"
    )
  if not len(classes):
    classes = sorted({name for name in true + predicted if not absent(name)})
  number = {label: c for c, label in enumerate(classes)}
  rows_Q = np.array(
    [row for row, label in enumerate(true) if label in number], np.int64
  )
  without = sum(absent(label) for label in true)
  if not len(rows_Q):
    raise NothingToScore(
      f"none of {len(true)} rows has one of the {len(number)} categories of"
      f" training ({without} have none): there is nothing to score"
    )
  wrong = {label for label in predicted if label not in number}
  if wrong:
    raise ValueError(f"predicted, but no class: {sorted(map(str, wrong))[:5]}")
  true_Q = np.array([number[true[row]] for row in rows_Q])
  predicted_Q = np.array([number[predicted[row]] for row in rows_Q])
  top_Q = None
  if ranked is not None:
    top_Q = np.array([true[row] in list(ranked[row])[:TOP] for row in rows_Q])
  return Predictions(
    tuple(classes),
    rows_Q,
    true_Q,
    predicted_Q,
    true_Q == predicted_Q,
    top_Q,
    without,
    len(true) - without - len(rows_Q),
  )


def absent(label) -> bool:
  """Whether a row has no category; 0 is a label like any other, NaN is none."""
  return is_absent(label) or label != label


def summary(given: Predictions) -> dict:
  """Computes the scores of predictions.

  Returns:
    rows scored, without_category and unknown_category (rows left out),
    classes, classes_with_support, accuracy, top5 (None where nothing was
    ranked) and macro_f1.
  """
  counts = _counts(given)
  return {
    "rows": len(given.rows_Q),
    "without_category": given.without_category,
    "unknown_category": given.unknown_category,
    "classes": len(given.classes),
    "classes_with_support": int((counts[1] > 0).sum()),
    "accuracy": float(given.correct_Q.mean()),
    "top5": None if given.top_Q is None else float(given.top_Q.mean()),
    "macro_f1": float(_macro_f1(*counts)),
  }


def by_class(given: Predictions) -> list[dict]:
  """Each class: category, rows, predicted, precision, recall and f1.

  A class without rows has no recall and no F1, one that was neither predicted
  nor true no precision either: None. Never predicted, but true: precision 0.
  """
  lines = []
  for label, hit, true, predicted in zip(
    given.classes, *(counts.tolist() for counts in _counts(given)), strict=True
  ):
    precision = hit / predicted if predicted else (0.0 if true else None)
    lines.append(
      {
        "category": label,
        "rows": true,
        "predicted": predicted,
        "precision": precision,
        "recall": hit / true if true else None,
        "f1": 2 * hit / (true + predicted) if true else None,
      }
    )
  return lines


def intervals(
  given: Predictions,
  products: Sequence[str],
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> dict[str, list[float]]:
  """95 % intervals of `summary`'s measures, by bootstrap over products.

  Args:
    products: of all N rows; "" is a product of its own.
  """
  names = metrics.own_names(products)
  product_Q = [names[row] for row in given.rows_Q.tolist()]
  found = metrics.intervals(
    _values(given), product_Q, resamples=resamples, seed=seed
  )
  drawn_R = draw_macro_f1(given, product_Q, resamples=resamples, seed=seed)
  ends = metrics.interval(drawn_R)
  return {**found, "macro_f1": [min(max(end, 0.0), 1.0) for end in ends]}


def _values(given: Predictions) -> dict[str, np.ndarray]:
  """The measures that are means over rows."""
  values = {"accuracy": given.correct_Q.astype(float)}
  if given.top_Q is not None:
    values["top5"] = given.top_Q.astype(float)
  return values


def _counts(given: Predictions):
  """How often each class was right, true, and predicted; three int [C]."""
  size = len(given.classes)
  return (
    np.bincount(given.true_Q[given.correct_Q], minlength=size),
    np.bincount(given.true_Q, minlength=size),
    np.bincount(given.predicted_Q, minlength=size),
  )


def _macro_f1(hit_RC, true_RC, predicted_RC):
  """The mean F1 over the classes with rows, along the last axis."""
  f1_RC = 2 * hit_RC / np.maximum(true_RC + predicted_RC, 1)
  return f1_RC.sum(axis=-1) / (true_RC > 0).sum(axis=-1)


def draw_macro_f1(
  given: Predictions,
  product_Q: Sequence[str],
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> np.ndarray:
  """Macro-F1 in each resample of the products, float [resamples].

  The same products are drawn for all predictions of the same rows.

  A resample loses a third of the products, and with them classes of few rows,
  the hardest ones: its mean over the classes left is too high. So the draws
  are moved to have the score itself as their mean. (Weights that lose no
  class would not do: what a class of one row gets does not depend on them, so
  the interval would be far too narrow.)
  """
  number_Q, size_P = metrics.number_groups(product_Q)
  products = len(size_P)
  size = len(given.classes)
  right_Q = given.correct_Q
  # A line each for every class's right, true and predicted rows.
  line = [
    given.true_Q[right_Q],
    size + given.true_Q,
    2 * size + given.predicted_Q,
  ]
  column = [number_Q[right_Q], number_Q, number_Q]
  count_MP = scipy.sparse.csr_array(
    (
      np.ones(sum(map(len, line))),
      (np.concatenate(line), np.concatenate(column)),
    ),
    shape=(3 * size, products),
  )
  random = np.random.default_rng(seed)
  drawn = []
  at_once = max(1, 2**21 // products)  # 16 MB of draws
  for first in range(0, resamples, at_once):
    times_RP = random.multinomial(
      products,
      np.full(products, 1 / products),
      size=min(at_once, resamples - first),
    )
    drawn.append(_macro_f1(*np.split((count_MP @ times_RP.T).T, 3, axis=1)))
  drawn_R = np.concatenate(drawn)
  return drawn_R - drawn_R.mean() + _macro_f1(*_counts(given))
