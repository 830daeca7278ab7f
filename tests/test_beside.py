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
from item_jax.evaluation.items import Items
from item_jax.evaluation.labels import compare_labels
from item_jax.evaluation.modality import Embedded, score_views
from item_jax.evaluation.modality_table import VIEWS


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
  named_after = ("mine", "run", "probe", "both_systems", "modality.json")
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
    "system needs recall@10 parameters FLOPs seconds item",
    "mug hat 1 2",  # one of two mugs was called a hat
  ):
    assert words in text, words
  assert any(
    x.get("aria-label") == "recall@10 of each system" for x in held.all("svg")
  )


def test_what_is_no_result_is_named(place, tmp_path, capsys):
  with pytest.raises(NotFoundError, match="nowhere: no such file"):
    read_beside(tmp_path / "nowhere")
  (tmp_path / "a.json").write_text('{"recall@10": 0.5}')
  (tmp_path / "b.json").write_text("{")
  (tmp_path / "c.csv").write_text("id,title\na,mug\n")
  (tmp_path / "d.csv").write_text("")
  for path in (tmp_path, *sorted(tmp_path.iterdir())):
    with pytest.raises(UserError, match="nothing that a page shows: expected"):
      read_beside(path)
  given = ["report", str(place / "run"), f"--data={place / 'data'}"]
  assert main(given) == 2
  assert "expected --html=FILE" in capsys.readouterr().err
