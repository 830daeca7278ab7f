"""Asks what frozen embeddings know of the leaf category: rows of training,
validation and test in, what two simple classifiers get right out.

paper: not stated how it predicts the category; ours, because these two are
what others use: k nearest neighbours, which train nothing, and multinomial
logistic regression, the usual linear probe.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import confusion, labels
from item_jax.evaluation.classifiers import (
  NEIGHBOURS,
  STRENGTHS,
  logistic,
  nearest,
)
from item_jax.evaluation.items import (
  check_apart,
  check_one_system,
  open_export,
  read_items,
)
from item_jax.evaluation.labelled import Rows, make_rows, of_category, split
from item_jax.evaluation.labels import score_labels
from item_jax.files import check_folders
from item_jax.remote import check_local

__all__ = ["probe", "probe_exports", "score_labels"]

KINDS = ("knn", "logistic")


def probe(
  train,
  val,
  test,
  *,
  kinds: Sequence[str] = KINDS,
  neighbours: Sequence[int] = NEIGHBOURS,
  strengths: Sequence[float] = STRENGTHS,
  bootstrap: int = 1000,
  seed: int = 0,
) -> dict:
  """Trains the classifiers on `train` and scores them on `test`.

  Args:
    train, val, test: (vectors float [N,D], categories) or (vectors,
      categories, ids, products), as `Rows`; "" where a row has no category,
      or is a product of its own. Without `val` (None) a tenth of the training
      products is kept out to choose by.
    kinds: which classifiers, of `KINDS`.
    neighbours: values of k to choose from.
    strengths: values of C to choose from; tried in ascending order until the
      accuracy on validation falls.
    bootstrap: resamples for the intervals; 0: none.

  Returns:
    {"knn": scores and "k", "logistic": scores and "C", "converged" (what
    `kinds` names), "train_rows", "val_rows", "rows", "left_out",
    "without_category", "unknown_category", "classes", "classes_with_support",
    "classes_without_support", "answers": {"knn": labels.Answers,
    "logistic": ...}}. Scores are "accuracy", "top5", "macro_f1",
    "val_accuracy" and "interval"; what is left out see `labels`.

  Raises:
    labels.NothingToScore: fewer than two categories in training, no row to
      choose by or to score.
    UserError: a row without direction.
    ValueError: parts of different lengths, no known kind.
  """
  if not kinds or not set(kinds) <= set(KINDS):
    raise ValueError(f"kinds {list(kinds)}; expected some of {list(KINDS)}")
  train, test = of_category(make_rows(*train)), make_rows(*test)
  if val is None:
    train, val = split(train)
  classes = sorted(set(train.categories))
  if len(classes) < 2:
    raise labels.NothingToScore(
      f"the training rows have {len(classes)} categories; expected two or more"
    )
  val = of_category(make_rows(*val), set(classes))
  if not len(val.categories):
    raise labels.NothingToScore(
      "no validation row is of a category of training"
    )
  place = {label: number for number, label in enumerate(classes)}
  train_N = np.array([place[label] for label in train.categories])
  val_M = np.array([place[label] for label in val.categories])
  known = {"train_N": train_N, "val_M": val_M}
  best = {}
  if "knn" in kinds:
    best["knn"] = nearest(train, val, test, choices=neighbours, **known)
  if "logistic" in kinds:
    best["logistic"] = logistic(train, val, test, choices=strengths, **known)
  result = {"train_rows": len(train_N), "val_rows": len(val_M)}
  found = {}
  for name, learnt in best.items():
    named = [[classes[c] for c in line if c >= 0] for line in learnt.ranked_Q5]
    found[name] = labels.answers(
      test.categories, [line[0] for line in named], named, classes=classes
    )
    result[name] = {**learnt.chosen, **labels.summary(found[name])}
    result[name]["val_accuracy"] = learnt.val_accuracy
    if bootstrap:
      result[name]["interval"] = labels.intervals(
        found[name], test.products, resamples=bootstrap, seed=seed
      )
  # What belongs to the question and not to the answer, once.
  for name in (
    "rows",
    "without_category",
    "unknown_category",
    "classes",
    "classes_with_support",
  ):
    result[name], *_ = [result[one].pop(name) for one in best]
  result["classes_without_support"] = (
    result["classes"] - result["classes_with_support"]
  )
  result["left_out"] = result["without_category"] + result["unknown_category"]
  return {**result, "answers": found}


def probe_exports(train: Path, val: Path | None, test: Path, **options) -> dict:
  """`probe` of export folders; the same options and result.

  Raises:
    UserError: also where the folders are not of one system, or share rows.
  """
  folders = [Path(folder) for folder in (train, val, test) if folder]
  check_one_system(folders)
  opened = [open_export(folder) for folder in folders]
  check_apart(
    (folder, items) for folder, (_, items) in zip(folders, opened, strict=True)
  )
  first, *middle, last = (
    Rows(
      vectors_ND,
      items.categories or [""] * len(items.ids),
      items.ids,
      items.products,
    )
    for vectors_ND, items in opened
  )
  return probe(first, middle[0] if middle else None, last, **options)


def probe_command(
  train: Path,
  val: Path | None,
  test: Path,
  *,
  json_path: Path | None = None,
  out: Path | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
) -> dict:
  """`probe_exports`, printed and written; returns what the JSON holds.

  Args:
    json_path: where the scores are written, if anywhere.
    out: folder for each classifier's categories_NAME.csv, confusion_NAME.csv
      and confusion_NAME.png, and answers.csv.
  """
  check_folders(json_path)
  check_local(out)
  if bootstrap < 1:
    raise UserError(f"{bootstrap} resamples; expected 1 or more")
  if out:
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
  result = probe_exports(train, val, test, bootstrap=bootstrap, seed=seed)
  answers = result.pop("answers")
  print(table(result))
  if json_path:
    text = json.dumps(result, indent=2) + "\n"
    Path(json_path).write_text(text, "utf-8")
  if out:
    trained = read_items(Path(train) / "items.csv").categories
    ids = read_items(Path(test) / "items.csv").ids
    confusion.write_answers(out / "answers.csv", ids, answers)
    for name, said in answers.items():
      confusion.write_by_class(out / f"categories_{name}.csv", said, trained)
      confusion.write_matrix(out / f"confusion_{name}.csv", said)
      title = f"{name}: {result[name]['accuracy']:.1%} of rows right"
      confusion.draw(out / f"confusion_{name}.png", said, title=title)
    print(f"{out}: tables and pictures")
  return result


def table(result: dict) -> str:
  """What `probe` gave, for people."""
  lines = [
    f"{result['classes']:,} categories of {result['train_rows']:,} training"
    f" rows; {result['val_rows']:,} rows of validation to choose by",
    f"{result['rows']:,} rows scored, {result['left_out']:,} left out"
    f" ({result['without_category']:,} without a category,"
    f" {result['unknown_category']:,} of one that training lacks);"
    f" {result['classes_with_support']:,} categories have scored rows,"
    f" {result['classes_without_support']:,} have none and are not in macro-F1",
    " " * 20 + "".join(f"{name:26}" for name in labels.SHOWN.values()).rstrip(),
  ]
  for name, setting in (("knn", "k"), ("logistic", "C")):
    if name not in result:
      continue
    one = result[name]
    cells = []
    for measure in labels.SHOWN:
      cell = f"{one[measure]:.4f}"
      if "interval" in one:
        low, high = one["interval"][measure]
        cell += f" [{low:.4f}, {high:.4f}]"
      cells.append(f"{cell:26}")
    head = f"{name}, {setting} = {one[setting]:g}"
    lines.append(f"{head:20}" + "".join(cells).rstrip())
  if not result.get("logistic", {"converged": True})["converged"]:
    lines.append("the logistic regression did not converge: read it as a floor")
  return "\n".join(lines)
