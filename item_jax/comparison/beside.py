"""Reads results of other commands, for the page of a report."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from item_jax.comparison.files import COMPARISON_FILE
from item_jax.comparison.page import bars
from item_jax.comparison.render import score_tables
from item_jax.errors import NotFoundError, UserError
from item_jax.evaluation import confusion
from item_jax.evaluation.cross_domain import draw_matrix, matrices
from item_jax.evaluation.labels import NothingToScore, compare_labels
from item_jax.evaluation.modality_table import Modality
from item_jax.evaluation.page.curves import LABELS, draw_curves, read_runs
from item_jax.evaluation.page.section import Section, Table
from item_jax.evaluation.page.tables import most_confused
from item_jax.evaluation.results import Tables
from item_jax.evaluation.robustness import Robustness
from item_jax.files import METRICS_FILE, read_json

_ANSWERS = "answers.csv"  # of `item-jax probe --out`
_TABLES: dict[str, type[Tables]] = {
  "Which modality dominates": Modality,
  "Missing, changed and short queries": Robustness,
}
# A file of another kind, or altered; a `UserError` is a ValueError.
_OF_SOMETHING_ELSE = (
  ValueError,
  TypeError,
  LookupError,
  AttributeError,
  StopIteration,
  csv.Error,
)
_CURVES = "recall@10 and MAP@10 by tokens of the title and strength of a change"


def read_beside(path: str | os.PathLike) -> Section:
  """Reads a result, whatever it is.

  Args:
    path: the folder of a comparison, of a run, or of `probe --out`; the JSON of
      `modality` or `robustness`; or the CSV of `predict`.

  Raises:
    NotFoundError: there is nothing.
    UserError: it is none of these.
  """
  path = Path(path)
  if not path.exists():
    raise NotFoundError(
      f"{path}: no such file or folder; expected one, or NAME=SOURCE"
    )
  read: Callable[[Path], Section | None] | None = None
  if path.is_dir():
    for name, one in (
      (COMPARISON_FILE, _comparison),
      (METRICS_FILE, _run),
      (_ANSWERS, _predictions),
    ):
      if (path / name).is_file():
        read = one
        break
  else:
    read = {".json": _tables, ".csv": _predictions}.get(path.suffix)
  try:
    section = read(path) if read else None
  except UserError:
    raise  # says more
  except _OF_SOMETHING_ELSE:
    section = None
  if section is None:
    raise UserError(
      f"{path} is nothing that a page shows: expected NAME=SOURCE, an export,"
      " the folder of a comparison, a run or `probe --out`, the JSON of"
      " `modality` or `robustness`, or the CSV of `predict`"
    )
  return section


def _comparison(path: Path) -> Section:
  held = read_json(path / COMPARISON_FILE)
  about, rows = held["about"], held["rows"]
  return Section(
    f"Comparison {path.absolute().name}",
    [f"Split {about['split']!r} of its data.", about["headline"]],
    score_tables(rows, about["base"]),
    [("recall@10 of each system", bars(rows))],
    about["notes"],
  )


def _run(path: Path) -> Section:
  drawn = draw_curves(read_runs(path))
  figures = [(LABELS[name], figure) for name, figure in drawn.items()]
  return Section(f"Run {path.absolute().name}", [], [], figures)


def _tables(path: Path) -> Section | None:
  for heading, kind in _TABLES.items():
    try:
      found = kind(**read_json(path))
      text, tables = found.sentence(), found.tables()
      figure = found.draw() if isinstance(found, Robustness) else None
    except _OF_SOMETHING_ELSE:
      continue
    return Section(
      f"{heading}: {path.stem}",
      text.splitlines(),
      [_table(title, rows) for title, rows in tables],
      [] if figure is None else [(_CURVES, figure)],
      list(found.remarks()),
    )
  return _matrix(path)


def _matrix(path: Path) -> Section | None:
  """What each of several runs finds in each of several catalogues."""
  try:
    held = read_json(path)
    tables, figure = matrices(held), draw_matrix(held)
  except _OF_SOMETHING_ELSE:
    return None
  return Section(
    f"Runs and catalogues: {path.stem}",
    ["In brackets the 95 % interval."],
    [_table(title, rows) for title, rows in tables],
    [("recall@10 of each run in each catalogue", figure)],
  )


def _table(title: str, rows: list[dict[str, str]]) -> Table:
  names = list(dict.fromkeys(name for row in rows for name in row))
  lines = [[row.get(name, "") for name in names] for row in rows]
  return Table(title or "What a query shows", names, lines)


def _predictions(path: Path) -> Section | None:
  """Confused categories, by each column of predictions."""
  file = path / _ANSWERS if path.is_dir() else path
  with file.open(newline="", encoding="utf-8") as lines:
    rows = list(csv.DictReader(lines))
  if not rows or not {"id", "true"} <= rows[0].keys():
    return None
  said = [x for x in rows[0] if x not in ("id", "true")]
  if "predicted" in said:  # its others are probabilities and further ones
    said = ["predicted"]
  true: list[Any] = [row["true"] for row in rows]
  tables, figures, text = [], [], []
  for name in said:
    try:
      given = compare_labels(true, [row[name] for row in rows])
    except NothingToScore:
      continue
    text.append(
      f"{name}: right for {int(given.correct_Q.sum()):,} of"
      f" {len(given.rows_Q):,} listings."
    )
    tables.append(
      Table(
        f"Categories that are confused most often, by {name}",
        ["category", name, "listings", "of"],
        most_confused(given),
      )
    )
    title = f"Predicted categories, by {name}"
    figures.append((title, confusion.picture(given, title=title)))
  return Section(f"Predicted categories: {path.stem}", text, tables, figures)
