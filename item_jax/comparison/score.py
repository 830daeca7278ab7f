"""Scores one system at one seed by its exports, and keeps each query's value.

Scoring happens in a process of its own: `write_request` says what to score,
`score_request` does it there.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.comparison import files
from item_jax.comparison.files import SCORES_FILE
from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items, has_pairs, open_export
from item_jax.evaluation.labels import COUNTS, NothingToScore
from item_jax.evaluation.probe import probe as probe_vectors
from item_jax.evaluation.retrieval import Scores
from item_jax.evaluation.vectors import all_same
from item_jax.files import sha256, write_bytes, write_json

_REQUEST_FILE = "asked.json"
_ARRAYS_FILE = "values.npz"
MEASURES = ("recall@10", "map@10")
# What systems are compared by, query by query.
COMPARED = (
  "both/recall@10",
  "both/map@10",
  "image/recall@10",
  "title/recall@10",
  "gap",
  "category/accuracy",
  "category/macro_f1",
)
CLASSES = "category:classes"
VALIDATION = "validation"  # of the counts: MAP@10 of both sides there
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


class Result(NamedTuple):
  """The scores of one system at one seed.

  cells: {"both/recall@10": ..., "category/accuracy": ...}; a name that is not
    there was not measured.
  counts: {"queries", "left_out", "index", ...} and what else is worth a note.
  values: for each measured name of COMPARED one value per query (or listing),
    and under NAME + ":product" the products they belong to. Macro-F1 is no
    mean of such values: for it CLASSES, int [2, Q], holds each listing's true
    and predicted class.
  """

  cells: dict[str, float]
  counts: dict[str, Any]
  values: dict[str, np.ndarray]


def write_request(
  folder: Path,
  exports: Mapping[str, Path],
  *,
  splits: Sequence[Path] = (),
  validation: Path | None = None,
  predictions: Path | None = None,
  modality: str | None = None,
  counts: Mapping[str, Any] | None = None,
) -> None:
  """Writes what `score_request` is to score.

  Args:
    exports: of the scored split, {modality: folder}.
    splits: exports of training, validation and the scored split, to learn the
      category from; empty where the catalogue has none.
    validation: the export that the row to take is chosen by.
    predictions: what `item-jax predict --json` wrote, where the system has a
      category head.
    modality: "image" or "title" where the system sees only that one.
    counts: what else is worth a note.
  """
  write_json(
    folder / _REQUEST_FILE,
    {
      "exports": {name: str(path) for name, path in exports.items()},
      "splits": [str(path) for path in splits],
      "validation": validation and str(validation),
      "own": predictions and str(predictions),
      "side": modality,
      "counts": dict(counts or {}),
    },
  )


def score_request(
  folder: Path, classify: Callable[..., Category] | None = None
) -> None:
  """Scores what `write_request` wrote, and writes the result beside it.

  Args:
    classify: what learns the category from exports; default: `probe`.
  """
  classify = classify or probe
  request = files.read_json(folder / _REQUEST_FILE)
  result = Result({}, request["counts"], {})
  items = Items([], [], [])  # the same in every export
  for modality, export in request["exports"].items():
    opened = open_export(Path(export))
    items = opened.items
    # Of a side that no listing has, ids alone would rank the rows.
    shown = modality == "both" or not all_same(opened.vectors)
    if shown and has_pairs(items.products):
      scored = retrieval.score(opened, bootstrap=0)
      add_search(result, (modality, request["side"]), scored, items)
  add_gap(result)
  if validation := request.get("validation"):
    held = open_export(Path(validation))
    add_validation(result, held, held.items)
  if request["splits"]:
    parts = map(Path, request["splits"])
    add_category(result, "category", lambda: classify(*parts), items)
  if request["own"]:
    path = Path(request["own"])
    add_category(result, "own", lambda: read_own(path), items)
  write(folder, result)


def add_search(
  result: Result,
  modalities: Iterable[str | None],
  scored: Scores,
  items: Items,
) -> None:
  """Adds one search to a result, under each of its modalities."""
  for modality in filter(None, modalities):
    for measure in MEASURES:
      name = f"{modality}/{measure}"
      result.cells[name] = scored.summary[measure]
      if name in COMPARED:
        result.values[name] = scored.values[measure]
        result.values[f"{name}:product"] = np.array(scored.products)
    if modality == "both":
      for name in ("queries", "left_out", "index", "share_over_k"):
        result.counts[name] = scored.summary[name]


def add_validation(result: Result, vectors: Any, items: Items) -> None:
  """Adds MAP@10 on validation, by which the row to take is chosen."""
  if has_pairs(items.products):
    scored = retrieval.score(vectors, items, bootstrap=0, k=10)
    result.counts[VALIDATION] = scored.summary["map@10"]


def add_gap(result: Result) -> None:
  """Adds how much more is found by the title than by the image."""
  title, image = "title/recall@10", "image/recall@10"
  if title in result.cells and image in result.cells:
    result.cells["gap"] = result.cells[title] - result.cells[image]
    result.values["gap"] = result.values[title] - result.values[image]
    result.values["gap:product"] = result.values[f"{title}:product"]


def add_category(
  result: Result, name: str, classify: Callable[[], Category], items: Items
) -> None:
  """Adds a classifier's scores, under "category" or "own".

  Where the catalogue has no categories to tell apart, the reason is noted.
  """
  try:
    found = classify()
  except NothingToScore as error:
    # The catalogue lacks them, not the system: search is scored all the same.
    result.counts[name] = {"none": str(error)}
    return
  accuracy = f"{name}/accuracy"
  result.cells[accuracy] = float(found.accuracy)
  result.cells[f"{name}/macro_f1"] = float(found.macro_f1)
  result.counts[name] = found.counts
  if accuracy in COMPARED:
    true_Q, predicted_Q = found.true_Q, found.predicted_Q
    result.values[CLASSES] = np.stack([true_Q, predicted_Q])
    result.values[accuracy] = (true_Q == predicted_Q).astype(float)
    result.values[f"{accuracy}:product"] = np.array(
      # A listing without a product stands for itself.
      [items.products[row] or f"\n{items.ids[row]}" for row in found.rows_Q]
    )


def probe(train: Any, val: Any, test: Any) -> Category:
  """Classifies frozen vectors by logistic regression.

  Args:
    train, val, test: as `item_jax.evaluation.probe.probe` takes them.

  Raises:
    NothingToScore: the catalogue's categories allow none.
  """
  found = probe_vectors(train, val, test, bootstrap=0, kinds=("logistic",))
  scores, predictions = found.summary["logistic"], found.predictions["logistic"]
  counts = {name: found.summary[name] for name in COUNTS}
  counts |= {name: scores[name] for name in ("C", "converged")}
  return Category(
    scores["accuracy"],
    scores["macro_f1"],
    counts,
    predictions.rows_Q,
    predictions.true_Q,
    predictions.predicted_Q,
  )


def read_own(path: Path) -> Category:
  """Reads a model's own scores as `item-jax predict --json` wrote them.

  Raises:
    NothingToScore: no listing has a category that the model knows.
  """
  scores = files.read_json(path)
  if scores is None:
    raise NothingToScore("no listing has a category of training")
  counts = {name: scores[name] for name in COUNTS}
  return Category(scores["accuracy"], scores["macro_f1"], counts)


def write(folder: Path, result: Result) -> None:
  """Writes a result; SCORES_FILE last, as without it there is none."""
  arrays = io.BytesIO()
  np.savez(arrays, **result.values)  # pyright: ignore[reportArgumentType]
  write_bytes(folder / _ARRAYS_FILE, arrays.getvalue())
  write_json(
    folder / SCORES_FILE,
    {
      "cells": result.cells,
      "counts": result.counts,
      "values": sha256(folder / _ARRAYS_FILE),
      "versions": files.versions(),
    },
  )


def read(folder: Path) -> Result | None:
  """Reads a result; None where there is none yet.

  Raises:
    UserError: a file is not what was written.
  """
  scores = files.read_json(folder / SCORES_FILE)
  if scores is None:
    return None
  path = folder / _ARRAYS_FILE
  if not path.is_file() or sha256(path) != scores["values"]:
    raise UserError(
      f"{path} is not what {folder / SCORES_FILE} speaks of: remove both, and"
      " they are made again"
    )
  with np.load(path, allow_pickle=False) as arrays:
    return Result(scores["cells"], scores["counts"], dict(arrays))
