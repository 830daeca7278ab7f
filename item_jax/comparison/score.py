"""Exports of one system and seed in; its cells and each query's values out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.comparison import category, files
from item_jax.comparison.category import Category
from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items, open_export
from item_jax.evaluation.labels import NothingToScore
from item_jax.evaluation.retrieval import Scores
from item_jax.files import sha256, write_json

ASKED_FILE = "asked.json"
SCORES_FILE = "scores.json"
_ARRAYS_FILE = "values.npz"
MEASURES = ("recall@10", "map@10")
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


class Result(NamedTuple):
  """One system at one seed.

  cells: {"both/recall@10": ..., "category/accuracy": ...}; a name that is not
    there was not measured.
  counts: {"queries", "left_out", "index", ...} and what else is worth a note.
  values: for each name of COMPARED that was measured, one value a query (or
    listing), and under NAME + ":product" the products they belong to.
    Macro-F1 is no mean of such values: for it CLASSES, int [2,Q], holds each
    listing's class and the one it was given.
  """

  cells: dict[str, float]
  counts: dict
  values: dict[str, np.ndarray]


def ask(
  folder: Path,
  exports: Mapping[str, Path],
  *,
  splits: Sequence[Path] = (),
  own: Path | None = None,
  side: str | None = None,
  counts: Mapping | None = None,
) -> None:
  """Writes what `make` is to score, for another process.

  Args:
    exports: of the scored split, {modality: folder}.
    splits: exports of training, validation and the scored split, to learn the
      category by; empty where the catalogue has none.
    own: what `item-jax predict --json` wrote, where the system has a head.
    side: the only one that the system sees, if it is one.
    counts: what else is worth a note.
  """
  write_json(
    folder / ASKED_FILE,
    {
      "exports": {name: str(path) for name, path in exports.items()},
      "splits": [str(path) for path in splits],
      "own": own and str(own),
      "side": side,
      "counts": dict(counts or {}),
    },
  )


def make(folder: Path, classify=category) -> None:
  """Scores what `ask` wrote down, writes the result beside it.

  Args:
    classify: tells how well categories are found, as the module `category`.
  """
  asked = files.read_json(folder / ASKED_FILE)
  result = Result({}, asked["counts"], {})
  for modality, export in asked["exports"].items():
    opened = open_export(Path(export))
    items = opened.items
    if searchable(items):
      scored = retrieval.score(opened, bootstrap=0)
      add_search(result, (modality, asked["side"]), scored, items)
  _add_gap(result)
  for name, classifier, paths in (
    ("category", classify.probe, asked["splits"]),
    ("own", classify.own, [asked["own"]] if asked["own"] else []),
  ):
    if paths:
      add_category(result, name, classifier, map(Path, paths), items)
  write(folder, result)


def add_search(
  result: Result, sides: Iterable[str | None], scored: Scores, items: Items
) -> None:
  """Adds one search to a result, under each of its modalities."""
  for side in filter(None, sides):
    for name in MEASURES:
      whole = f"{side}/{name}"
      result.cells[whole] = scored.summary[name]
      if whole in COMPARED:
        result.values[whole] = scored.values[name]
        result.values[f"{whole}:product"] = np.array(
          [items.products[row] for row in scored.rows_Q]
        )
    if side == "both":
      for name in ("queries", "left_out", "index", "share_over_k"):
        result.counts[name] = scored.summary[name]


def _add_gap(result: Result) -> None:
  """How much better the title alone is found than the photo alone."""
  title, image = (f"{side}/recall@10" for side in ("title", "image"))
  if title in result.cells and image in result.cells:
    result.cells["gap"] = result.cells[title] - result.cells[image]
    result.values["gap"] = result.values[title] - result.values[image]
    result.values["gap:product"] = result.values[f"{title}:product"]


def add_category(
  result: Result, name: str, classifier, parts: Iterable, items: Items
) -> None:
  """Adds what a classifier of these parts got right, under "category" or
  "own"; without categories to tell apart, the reason why there is nothing.

  Args:
    classifier: parts -> Category, or NothingToScore.
  """
  try:
    found: Category = classifier(*parts)
  except NothingToScore as error:
    # The catalogue's lack, not the system's: search is scored all the same.
    result.counts[name] = {"none": str(error)}
    return
  result.cells[f"{name}/accuracy"] = float(found.accuracy)
  result.cells[f"{name}/macro_f1"] = float(found.macro_f1)
  result.counts[name] = found.counts
  whole = f"{name}/accuracy"
  if whole in COMPARED:
    classes_2Q = np.stack([found.true_Q, found.said_Q])
    result.values[CLASSES] = classes_2Q
    result.values[whole] = (classes_2Q[0] == classes_2Q[1]).astype(float)
    result.values[f"{whole}:product"] = np.array(
      # A listing of no product is one by itself.
      [items.products[row] or f"\n{items.ids[row]}" for row in found.rows_Q]
    )


def searchable(items: Items) -> bool:
  """Whether any product has two listings."""
  named = [product for product in items.products if product]
  return len(set(named)) < len(named)


def write(folder: Path, result: Result) -> None:
  """The scores last: without them there is no result."""
  files.write_arrays(folder / _ARRAYS_FILE, result.values)
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
  """None where there is no result yet.

  Raises:
    UserError: a file is not what was written.
  """
  said = files.read_json(folder / SCORES_FILE)
  if said is None:
    return None
  path = folder / _ARRAYS_FILE
  if not path.is_file() or sha256(path) != said["values"]:
    raise UserError(
      f"{path} is not what {folder / SCORES_FILE} speaks of: remove both, and"
      " they are made again"
    )
  return Result(said["cells"], said["counts"], files.read_arrays(path))
