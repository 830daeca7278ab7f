"""Exports of one system and seed in; its cells and each query's values out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.comparison import files
from item_jax.comparison.calls import FailedError
from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items, open_export
from item_jax.evaluation.retrieval import Scored

SCORES_FILE = "scores.json"
_ARRAYS_FILE = "values.npz"
MEASURES = ("recall@10", "map@10")
COMPARED = ("both/recall@10", "both/map@10", "category/accuracy")


class Result(NamedTuple):
  """One system at one seed.

  cells: {"both/recall@10": ..., "category/accuracy": ...}; a name that is not
    there was not measured.
  counts: {"queries", "left_out", "index", ...} and what else is worth a note.
  values: for each name of COMPARED that was measured, one value a query (or
    listing), and under NAME + ":product" the products they belong to.
  """

  cells: dict[str, float]
  counts: dict
  values: dict[str, np.ndarray]


class Category(NamedTuple):
  """What one classifier said of the listings of the scored split."""

  accuracy: float
  macro_f1: float
  rows_Q: np.ndarray  # the listings that were scored
  correct_Q: np.ndarray  # bool
  counts: dict  # what was left out


def add_search(result: Result, modality: str, scored: Scored, items: Items):
  """Adds one modality's search to a result."""
  for name in MEASURES:
    whole = f"{modality}/{name}"
    result.cells[whole] = scored.summary[name]
    if whole in COMPARED:
      result.values[whole] = scored.values[name]
      result.values[f"{whole}:product"] = np.array(
        [items.products[row] for row in scored.rows_Q]
      )
  if modality == "both":
    for name in ("queries", "left_out", "index", "share_over_k"):
      result.counts[name] = scored.summary[name]


def add_category(result: Result, name: str, found: Category, items: Items):
  """Adds what a classifier got right, under "category" or "own"."""
  result.cells[f"{name}/accuracy"] = float(found.accuracy)
  result.cells[f"{name}/macro_f1"] = float(found.macro_f1)
  result.counts[name] = found.counts
  whole = f"{name}/accuracy"
  if whole in COMPARED:
    result.values[whole] = np.asarray(found.correct_Q, float)
    result.values[f"{whole}:product"] = np.array(
      # A listing of no product is one by itself.
      [items.products[row] or f"\n{items.ids[row]}" for row in found.rows_Q]
    )


def score_exports(
  exports: Mapping[str, Path],
  *,
  probe: Callable[[], Category] | None,
  own: Callable[[], Category] | None = None,
) -> Result:
  """Scores the exports of the scored split, {modality: folder}.

  Args:
    probe: gives what a classifier on the frozen vectors got right; None where
      the catalogue has no categories.
    own: the same of the system's own predictions, where it makes any.
  """
  result = Result({}, {}, {})
  items = None
  for modality, folder in exports.items():
    vectors_ND, items = open_export(folder)
    result.counts["dims"] = vectors_ND.shape[1]
    if searchable(items):
      scored = retrieval.score(vectors_ND, items, bootstrap=0)
      add_search(result, modality, scored, items)
  for name, classifier in (("category", probe), ("own", own)):
    if classifier is None:
      continue
    try:
      add_category(result, name, classifier(), items)
    except FailedError:
      raise
    except UserError as error:
      # The catalogue's lack, not the system's: search is scored all the same.
      result.counts[name] = {"none": str(error)}
  return result


def searchable(items: Items) -> bool:
  """Whether any product has two listings."""
  named = [product for product in items.products if product]
  return len(set(named)) < len(named)


def write(folder: Path, result: Result) -> None:
  """The scores last: without them there is no result."""
  files.write_arrays(folder / _ARRAYS_FILE, result.values)
  files.write_json(
    folder / SCORES_FILE,
    {
      "cells": result.cells,
      "counts": result.counts,
      "values": files.sha256(folder / _ARRAYS_FILE),
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
  if not path.is_file() or files.sha256(path) != said["values"]:
    raise UserError(
      f"{path} is not what {folder / SCORES_FILE} speaks of: remove both, and"
      " they are made again"
    )
  return Result(said["cells"], said["counts"], files.read_arrays(path))
