"""Shows which categories are confused with which, as tables and a picture."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from item_jax.evaluation.labels import Predictions, by_class
from item_jax.files import whole_file

if TYPE_CHECKING:
  from matplotlib.figure import Figure

LARGEST = 40  # categories in the picture; more cannot be read
_LETTERS = 34  # of a name in the picture


def matrix(given: Predictions) -> np.ndarray:
  """Counts the rows of class c that were predicted as class d, int [C,C]."""
  size = len(given.classes)
  cell_Q = given.true_Q * size + given.predicted_Q
  return np.bincount(cell_Q, minlength=size**2).reshape(size, size)


def write_matrix(path: Path, given: Predictions) -> None:
  """Writes a CSV: a line a true category, a column a predicted one."""
  with _open(path) as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["true \\ said", *given.classes])
    # One line at a time: as lists of a million cells it would be ten times
    # the array.
    for label, line in zip(given.classes, matrix(given), strict=True):
      writer.writerow([label, *line.tolist()])


def write_by_class(
  path: Path, given: Predictions, train_categories: Sequence[str]
) -> None:
  """Writes a CSV with a line a category: rows, precision, recall and F1.

  What is not defined (no row is of it) is empty.
  """
  trained = Counter(train_categories)
  names = ("category", "train_rows", "test_rows", "said")
  with _open(path) as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "precision", "recall", "f1"])
    for line in by_class(given):
      measures = (line["precision"], line["recall"], line["f1"])
      writer.writerow(
        [line["category"], trained[line["category"]], line["rows"]]
        + [line["predicted"]]
        + ["" if value is None else f"{value:.6f}" for value in measures]
      )


def write_predictions(
  path: Path, ids: Sequence[str], predictions: Mapping[str, Predictions]
) -> None:
  """Writes a CSV with a line a scored row: id, true, and each prediction."""
  first = next(iter(predictions.values()))
  with _open(path) as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "true", *predictions])
    for number, row in enumerate(first.rows_Q.tolist()):
      predicted = [
        one.classes[one.predicted_Q[number]] for one in predictions.values()
      ]
      writer.writerow(
        [ids[row], first.classes[first.true_Q[number]], *predicted]
      )


def draw(
  path: Path, given: Predictions, *, title: str, largest: int = LARGEST
) -> None:
  """Writes `picture` as a PNG."""
  figure = picture(given, title=title, largest=largest)
  with whole_file(path) as file:
    figure.savefig(file, dpi=130, format="png")


def picture(
  given: Predictions,
  *,
  title: str,
  said: str = "predicted",
  largest: int = LARGEST,
) -> "Figure":
  """Draws the fraction of each true category predicted as each one.

  Where there are more than `largest` categories with rows, those with the
  most are shown, the title says so, and a last column holds the predictions of
  any other.
  """
  # Here and not above: it takes a second. Not pyplot, which asks the machine
  # for a screen and keeps every figure.
  from matplotlib.figure import Figure

  count_CC = matrix(given)
  rows_C = count_CC.sum(axis=1)
  order = np.argsort(-rows_C, kind="stable")
  order = order[rows_C[order] > 0]
  shown = order[:largest]
  # Beside each other what is named alike: paths share their beginnings.
  shown = np.array(sorted(shown, key=lambda c: str(given.classes[c])))
  cell_SX = count_CC[np.ix_(shown, shown)]
  beside_S = count_CC[shown].sum(axis=1) - cell_SX.sum(axis=1)
  cell_SX = np.concatenate([cell_SX, beside_S[:, None]], axis=1)
  fraction_SX = cell_SX / rows_C[shown][:, None]
  names = short_names([str(given.classes[c]) for c in shown])
  if len(order) > len(shown):
    title += (
      f"\nthe {len(shown)} largest of {len(order)} categories,"
      f" {rows_C[shown].sum():,} of {rows_C.sum():,} rows"
    )
  inches = 4 + 0.28 * len(shown)
  figure = Figure(figsize=(inches + 1, inches), layout="constrained")
  axes = figure.add_subplot()
  image = axes.imshow(fraction_SX, cmap="Blues", vmin=0, vmax=1, aspect="auto")
  plain = {"parse_math": False, "fontsize": 8}  # a name may hold dollar signs
  lines = [f"{n} ({rows_C[c]:,})" for n, c in zip(names, shown, strict=True)]
  axes.set_yticks(range(len(lines)), lines, **plain)
  columns = [*names, "any other"]
  axes.set_xticks(range(len(columns)), columns, rotation=90, **plain)
  for line, column in zip(*np.nonzero(fraction_SX > 0.005), strict=True):
    axes.text(
      column,
      line,
      f"{100 * fraction_SX[line, column]:.0f}",
      ha="center",
      va="center",
      fontsize=6,
      color="white" if fraction_SX[line, column] > 0.5 else "black",
    )
  axes.set_xlabel(said)
  axes.set_ylabel("true (rows)")
  axes.set_title(title, parse_math=False)
  figure.colorbar(image, label="fraction of the true category's rows")
  return figure


def short_names(paths: Sequence[str]) -> list[str]:
  """Shortens paths to their last steps, as many as tell them apart."""
  steps = [path.split(" > ") for path in paths]
  kept = [1] * len(paths)
  while True:
    names = [
      " > ".join(line[-few:]) for line, few in zip(steps, kept, strict=True)
    ]
    times = Counter(names)
    longer = [
      few + 1 if times[name] > 1 and few < len(line) else few
      for name, line, few in zip(names, steps, kept, strict=True)
    ]
    if longer == kept:
      break
    kept = longer
  return [
    name if len(name) <= _LETTERS else "\u2026" + name[1 - _LETTERS :]
    for name in names
  ]


def _open(path: Path):
  return whole_file(path, text=True)
