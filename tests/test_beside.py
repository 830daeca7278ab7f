"""What other commands found stands on a report's page as they wrote it."""

import json
from pathlib import Path

import numpy as np
import pytest
from exports import write_export
from pages import COUNT, Page, listings, named, store

from item_jax.__main__ import main
from item_jax.comparison.beside import read_beside
from item_jax.errors import NotFoundError, UserError
from item_jax.evaluation import confusion
from item_jax.evaluation.cross_domain import CrossDomain
from item_jax.evaluation.items import Items
from item_jax.evaluation.labels import compare_labels
from item_jax.evaluation.modality import Embedded, score_views
from item_jax.evaluation.modality_table import VIEWS
from item_jax.evaluation.page.pictures import inline_svg
from item_jax.evaluation.retrieval import score
from item_jax.evaluation.robustness import Robustness


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp("beside")
  store(folder / "data", listings())
  vectors_ND = np.random.default_rng(0).normal(size=(COUNT, 6))
  write_export(folder / "mine", vectors_ND, named(listings()))
  (folder / "run").mkdir()
  (folder / "run" / "metrics.jsonl").write_text(
    '{"step": 5, "kind": "train", "loss": 9.5, "itm": 0.8, "itm_floor": 0.7}\n'
  )
  (folder / "probe").mkdir()
  confusion.write_predictions(
    folder / "probe" / "answers.csv",
    [*"abc"],
    {"knn": compare_labels(["mug", "mug", "hat"], ["hat", "mug", "hat"])},
  )
  write_comparison(folder / "both_systems")
  write_modality(folder / "modality.json")
  robust().write_json(folder / "robust.json")
  return folder


def write_comparison(folder: Path) -> None:
  def row(system, mean):
    spread = {"mean": mean, "std": None, "min": mean, "max": mean}
    return {
      "system": system,
      "needs": [],
      "seeds": [0],
      "missing": 0,
      "cells": {"both/recall@10": spread},
      "against": {},
      "parameters": 12,
      "train_flops": None,
      "seconds": None,
    }

  folder.mkdir()
  about = {
    "base": "item",
    "split": "test",
    "headline": "Take <item>.",
    "notes": ["a note of it"],
  }
  held = {"about": about, "rows": [row("item", 0.75), row("clip", 0.5)]}
  (folder / "comparison.json").write_text(json.dumps(held))


def write_modality(path: Path) -> None:
  random = np.random.default_rng(0)
  views = {view: random.normal(size=(8, 4)) for view in VIEWS if view != "both"}
  items = Items([*"abcdefgh"], [*"wwxxyyzz"], [""] * 8)
  embedded = Embedded(
    items=items,
    both_ND=random.normal(size=(8, 4)),
    rows_M=np.arange(8),
    views=views,
    words_M=np.arange(8),
  )
  score_views(embedded, bootstrap=20).write_json(path)


def test_all_of_it_stands_on_one_page(place, capsys):
  file = place / "page.html"
  named_after = ("mine", "run", "probe", "both_systems")
  named_after += ("modality.json", "robust.json")
  paths = [str(place / name) for name in named_after]
  flags = [f"--data={place / 'data'}", f"--html={file}", "--examples=3"]
  assert main(["report", *paths, *flags]) == 0
  assert "\nmine " in capsys.readouterr().out
  held = Page(file.read_text("utf-8"))
  text = " ".join(" ".join(held.text).split())
  for words in (
    "Run run ",
    "Predicted categories: probe knn: right for 2 of 3 listings.",
    "Comparison both_systems Split 'test' of its data. Take <item>.",
    "a note of it",
    "Which modality dominates: modality 8 listings with an image",
    "Missing, changed and short queries: robust split test, step 3",
    "crop 0.9000 0.8000",
    "system needs recall@10 parameters FLOPs seconds item",
    "mug hat 1 2",  # one of two mugs was called a hat
  ):
    assert words in text, words
  assert any(
    x.get("aria-label") == "recall@10 of each system" for x in held.all("svg")
  )


def test_pictures_of_it_are_written_too(place, tmp_path, capsys):
  out = tmp_path / "f"
  paths = [str(place / "robust.json"), str(place / "both_systems")]
  flags = [f"--data={place / 'data'}", f"--figures={out}"]
  assert main(["report", str(place / "mine"), *paths, *flags]) == 0
  named_after = {path.name for path in out.iterdir()}
  for start in ("1_Missing_changed_and_short_queries_robust", "2_Comparison"):
    found = {x.split(".")[1] for x in named_after if x.startswith(start)}
    assert found == {"png", "svg"}, named_after
  taken = tmp_path / "taken"
  taken.write_text("mine")
  capsys.readouterr()
  for folder in (taken, taken / "in"):
    line = ["report", str(place / "mine"), flags[0], f"--figures={folder}"]
    assert main(line) == 2
    said = capsys.readouterr()
    assert "taken is a file; expected a folder" in said.err
    assert not said.out  # before the scores


def robust() -> Robustness:
  """Figures made up: the value tells which, the interval is .1 either way."""

  def figures(value):
    one = {"value": value, "interval": [value - 0.1, value + 0.1]}
    names = ("recall@10", "map@10", "recall@10 drop", "map@10 drop")
    return dict.fromkeys(names, one)

  counts = {"rows": 9, "queries": 8, "left_out": 1, "image": 9, "title": 9}
  return Robustness(
    counts | {"mixed_rate": 0.5, "split": "test", "step": 3},
    changes={
      "crop": [{"strength": n, **figures(0.9 - n / 10)} for n in range(6)]
    },
  )


def test_curves_of_robustness_are_those_of_its_file(tmp_path):
  file = tmp_path / "robust.json"
  robust().write_json(file)
  section = read_beside(file)
  assert section.heading == "Missing, changed and short queries: robust"
  assert section.text[0].startswith("split test, step 3: 8 queries, 1 left out")
  ((_, figure),) = section.figures
  (axes,) = figure.axes
  assert axes.get_title() == "crop"
  values = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
  for line in axes.get_lines():
    assert line.get_ydata().tolist() == pytest.approx(values)
  assert [x.get_text() for x in axes.get_xticklabels()] == [*"012345"]
  table = section.tables[0]
  assert table.columns == ["change", *"012345", "drop at 5"]
  assert table.lines[0][:3] == ["crop", "0.9000", "0.8000"]
  assert "<svg" in inline_svg(figure, "curves")


def test_a_matrix_of_runs_and_catalogues_is_that_of_its_file(tmp_path):
  def scores(one, product):  # a listing and its partner, who is near or not
    vectors_ND = np.array([[1, 0], [one, 1 - one], [0, 1]], np.float32)
    items = Items([*"abc"], [*product], [""] * 3)
    return score(vectors_ND, items, k=(10,), bootstrap=5)

  found = CrossDomain(
    {
      "$run$": {"mine": scores(1, "xxy"), "other": scores(0.4, "xxy")},
      "tfidf": {"mine": scores(0, "xxy"), "other": scores(0.4, "xyy")},
    },
    "test",
  )
  found.write_json(tmp_path / "matrix.json")
  section = read_beside(tmp_path / "matrix.json")
  assert section.heading == "Runs and catalogues: matrix"
  assert [(x.caption, [*x.columns]) for x in section.tables] == [
    (
      f"{name} of each run (lines) in each catalogue (columns)",
      ["run", "mine", "other"],
    )
    for name in ("recall@10", "map@10")
  ]
  lines = [list(row.values()) for _, rows in found.tables() for row in rows]
  assert [line for x in section.tables for line in x.lines] == lines
  ((_, figure),) = section.figures
  (axes,) = figure.axes
  drawn = {x.get_position(): x.get_text() for x in axes.texts}
  assert drawn == {
    (column, line): f"{one.summary['recall@10']:.3f}"
    for line, each in enumerate(found.scores.values())
    for column, one in enumerate(each.values())
  }
  assert [x.get_text() for x in axes.get_yticklabels()] == ["$run$", "tfidf"]
  assert "<svg" in inline_svg(figure, "matrix")


def test_what_is_no_result_is_named(place, tmp_path, capsys):
  with pytest.raises(NotFoundError, match="nowhere: no such file"):
    read_beside(tmp_path / "nowhere")
  (tmp_path / "a.json").write_text('{"recall@10": 0.5}')
  (tmp_path / "b.json").write_text("{")
  (tmp_path / "e.json").write_text("{}")
  (tmp_path / "f.json").write_text("[]")
  (tmp_path / "c.csv").write_text("id,title\na,mug\n")
  (tmp_path / "d.csv").write_text("")
  for path in (tmp_path, *sorted(tmp_path.iterdir())):
    with pytest.raises(UserError, match="nothing that a page shows: expected"):
      read_beside(path)
  given = ["report", str(place / "run"), f"--data={place / 'data'}"]
  assert main(given) == 2
  assert "expected --html=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("deep.json", b"[" * 5_000 + b"]" * 5_000),
    ("cut.json", b'{"a"'),
    ("table.csv", b"id,true,predicted\na,mug,caf\xe9\n"),
    ("long.csv", b"id,true,predicted\na,mug," + b"x" * 140_000),
    ("runs/comparison.json", b'{"about"'),
    ("runs/comparison.json", b'{"about": {}, "rows": []}'),
    ("runs/comparison.json", b"[" * 5_000 + b"]" * 5_000),
  ],
)
def test_an_altered_result_is_named(tmp_path, name, content):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(content)
  given = path if path.parent == tmp_path else path.parent
  with pytest.raises(UserError, match=given.name):
    read_beside(given)
