"""Measures how well two simple classifiers of embeddings find the category.

paper: not stated how it predicts the category; ours, because these two are
what others use: k nearest neighbours, which train nothing, and multinomial
logistic regression, the usual linear probe.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError, check_whole
from item_jax.evaluation import confusion, labels, metrics
from item_jax.evaluation.agreement import check_apart, check_one_system
from item_jax.evaluation.classifiers import (
  NEIGHBOURS,
  STRENGTHS,
  logistic,
  nearest,
)
from item_jax.evaluation.labelled import (
  Rows,
  check_rows,
  make_parts,
  of_category,
)
from item_jax.evaluation.labelled import split as split_rows
from item_jax.evaluation.results import Result, with_interval
from item_jax.evaluation.sources import is_source, open_source
from item_jax.listing import as_list

KINDS = ("knn", "logistic")


@dataclass(frozen=True, eq=False, repr=False)
class Probe(Result):
  """What the classifiers found.

  summary: train_rows, val_rows, rows (scored), left_out, without_category,
    unknown_category, classes, classes_with_support, classes_without_support;
    and for each classifier ("knn", "logistic") accuracy, top5, macro_f1,
    val_accuracy, interval, and the chosen setting, "k" or "C" with "converged".
    For what is left out see `labels`.
  predictions: {classifier: Predictions}.
  test: the scored rows. train_categories: of all rows that were learnt from.
  """

  summary: dict[str, Any]
  predictions: Mapping[str, labels.Predictions]
  test: Rows
  train_categories: Sequence[str]

  def to_dict(self) -> dict[str, Any]:
    """Returns `summary`."""
    return self.summary

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each classifier and measure."""
    lines = []
    for name in self.predictions:
      scores = self.summary[name]
      for measure in labels.SHOWN:
        low, high = scores.get("interval", {}).get(measure, (None, None))
        value = {"value": scores[measure], "low": low, "high": high}
        lines.append({"classifier": name, "measure": measure, **value})
    return lines

  def __str__(self) -> str:
    result = self.summary
    lines = [
      f"{result['classes']:,} categories of {result['train_rows']:,} training"
      f" rows; {result['val_rows']:,} rows of validation to choose by",
      f"{result['rows']:,} rows scored, {result['left_out']:,} left out"
      f" ({result['without_category']:,} without a category,"
      f" {result['unknown_category']:,} of one that training lacks);"
      f" {result['classes_with_support']:,} categories have scored rows,"
      f" {result['classes_without_support']:,} have none and are not in"
      " macro-F1",
      " " * 20 + "".join(f"{x:26}" for x in labels.SHOWN.values()).rstrip(),
    ]
    for name in self.predictions:
      scores, setting = result[name], {"knn": "k", "logistic": "C"}[name]
      cells = [
        with_interval(scores[measure], scores.get("interval", {}).get(measure))
        for measure in labels.SHOWN
      ]
      head = f"{name}, {setting} = {scores[setting]:g}"
      lines.append(f"{head:20}" + "".join(f"{x:26}" for x in cells).rstrip())
    if not result.get("logistic", {"converged": True})["converged"]:
      lines.append(
        "the logistic regression did not converge: read it as a lower bound"
      )
    return "\n".join(lines)

  def write_tables(self, out: str | os.PathLike) -> None:
    """Writes answers.csv, and tables and a picture of each classifier.

    Those are categories_NAME.csv, confusion_NAME.csv and confusion_NAME.png.
    The folder is made where it is not there.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    confusion.write_predictions(
      out / "answers.csv", self.test.ids, self.predictions
    )
    for name, given in self.predictions.items():
      confusion.write_by_class(
        out / f"categories_{name}.csv", given, self.train_categories
      )
      confusion.write_matrix(out / f"confusion_{name}.csv", given)
      title = f"{name}: {self.summary[name]['accuracy']:.1%} of rows right"
      confusion.draw(out / f"confusion_{name}.png", given, title=title)


def probe(
  train: Any,
  val: Any,
  test: Any,
  *,
  kinds: str | Sequence[str] = KINDS,
  neighbours: int | Sequence[int] = NEIGHBOURS,
  strengths: float | Sequence[float] = STRENGTHS,
  bootstrap: int = 1000,
  seed: int = 0,
  data: Any = None,
  split: str = "test",
) -> Probe:
  """Trains the classifiers on `train` and scores them on `test`.

  Args:
    train, val, test: exports of one model (folders or `Export`s) or what else
      `sources.open_source` takes; or (vectors, categories), or (vectors,
      categories, ids, products), as `Rows`; "", None or NaN where a row has no
      category, or is a product of its own. Without `val` (None) a
      tenth of the training products is kept out to choose by.
    kinds: which classifiers, of `KINDS`.
    neighbours, strengths: values of k and of C to choose from; those of C are
      tried in ascending order until the accuracy on validation falls.
    bootstrap, seed: resamples for the intervals (0: none), and their seed.
    data: the prepared catalogue of "tfidf" and "thumbnail"; they are made of
      its splits "train" and "val", and of `split`.

  Raises:
    labels.NothingToScore: fewer than two categories in training, no row to
      choose by or to score.
    UserError: a row without direction; exports of several models, or with a
      listing in common; parts of different lengths or widths; no known kind, k
      or C.
  """
  metrics.check_draws(seed=seed, bootstrap=bootstrap)
  ks, cs = _choices(neighbours, strengths)
  if is_source(test):
    train, val, test = _open(train, val, test, data=data, split=split)
  kinds = as_list(kinds, "kinds")
  if not kinds or not set(kinds) <= set(KINDS):
    raise UserError(f"kinds={kinds}: expected some of {list(KINDS)}")
  train, val, test = make_parts(train, val, test)
  train_categories, train = train.categories, of_category(train)
  if val is None:
    train, val = split_rows(train)
  classes = sorted(set(train.categories))
  if len(classes) < 2:
    raise labels.NothingToScore(
      f"the training rows have {len(classes)} categories; expected two or more"
    )
  val = of_category(val, set(classes))
  if not val.categories:
    raise labels.NothingToScore("no validation row is of a training category")
  check_rows(train=train, val=val, test=test)
  number = {label: c for c, label in enumerate(classes)}
  train_N = np.array([number[label] for label in train.categories])
  val_M = np.array([number[label] for label in val.categories])
  parts, known = (train, val, test), {"train_N": train_N, "val_M": val_M}
  best = {}
  if "knn" in kinds:
    best["knn"] = nearest(*parts, choices=ks, **known)
  if "logistic" in kinds:
    best["logistic"] = logistic(*parts, choices=cs, **known)
  predictions = {
    name: _name_classes(fitted.ranked_Q5, test, classes)
    for name, fitted in best.items()
  }
  summary: dict[str, Any] = {"train_rows": len(train_N), "val_rows": len(val_M)}
  for name, fitted in best.items():
    given = predictions[name]
    summary[name] = {**fitted.chosen, **labels.summary(given)}
    summary[name]["val_accuracy"] = fitted.val_accuracy
    if bootstrap:
      summary[name]["interval"] = labels.intervals(
        given, test.products, resamples=bootstrap, seed=seed
      )
  _share_counts(summary, list(best))
  return Probe(summary, predictions, test, train_categories)


def _choices(neighbours: Any, strengths: Any) -> tuple[list[int], list[float]]:
  """The values of k and of C."""
  ks, cs = as_list(neighbours, "neighbours"), as_list(strengths, "strengths")
  if not ks or not cs:
    raise UserError(
      f"neighbours={ks}, strengths={cs}: expected one value of each or more"
    )
  numbers = (int, float, np.number)
  if not all(isinstance(c, numbers) and 0 < c < math.inf for c in cs):
    raise UserError(f"strengths={cs}: expected numbers above 0")
  return [check_whole("neighbours", k, at_least=1) for k in ks], cs


def _name_classes(
  ranked_Q5: np.ndarray, test: Rows, classes: Sequence[str]
) -> labels.Predictions:
  ranked = [[classes[c] for c in line if c >= 0] for line in ranked_Q5]
  best = [line[0] for line in ranked]
  return labels.compare_labels(test.categories, best, ranked, classes=classes)


def _share_counts(summary: dict[str, Any], kinds: Sequence[str]) -> None:
  """Moves what is the same for all classifiers up into the summary."""
  for name in labels.COUNTS:
    summary[name], *_ = [summary[kind].pop(name) for kind in kinds]
  summary["classes_without_support"] = (
    summary["classes"] - summary["classes_with_support"]
  )
  summary["left_out"] = (
    summary["without_category"] + summary["unknown_category"]
  )


def _open(*exports: Any, data: Any, split: str) -> list[Rows | None]:
  """Opens vectors of one model that have no listing in common."""
  opened = [
    None if what is None else open_source(what, data=data, split=name)
    for what, name in zip(exports, ("train", "val", split), strict=True)
  ]
  given = [source for source in opened if source is not None]
  check_one_system(*given)
  check_apart(*given)
  return [
    source
    and Rows(
      source.vectors,
      source.items.categories or [""] * len(source.items.ids),
      source.items.ids,
      source.items.products,
    )
    for source in opened
  ]
