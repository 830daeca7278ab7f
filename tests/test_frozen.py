"""Laws of weights as they are, and of titles cut by another tokenizer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.files import write_manifest
from item_jax.inference.export import export
from item_jax.ingest.prepare import prepare
from item_jax.training.loop import train


def config(data: Path, **options) -> Config:
  made = tiny_run.get_config()
  made.task, made.steps = "none", 0
  made.data.path = str(data)
  for name, value in options.items():
    group, _, leaf = name.rpartition("__")
    setattr(getattr(made, group) if group else made, leaf, value)
  return made


def vectors(made: Config, folder: Path, data: Path) -> np.ndarray:
  train(made, folder / "run")
  done = export(folder / "run", data=data, split="test", out=folder / "export")
  return np.asarray(done.vectors)


def test_another_tokenizer_is_as_if_prepared_with_it(tiny_data, tmp_path):
  catalogue = tiny_data.parent / "catalogue"
  prepare(
    catalogue / "products.csv",
    images=catalogue,
    out=tmp_path / "prepared",
    tokenizer=None,
    vocab_size=150,
    max_rejected=0.0,
    workers=1,
  )
  other = tmp_path / "prepared" / "tokenizer.json"
  title = {"model__name": "roberta"}
  ours = config(tiny_data, data__tokenizer=str(other), **title)
  theirs = config(tmp_path / "prepared", **title)
  found = vectors(ours, tmp_path / "ours", tiny_data)
  expected = vectors(theirs, tmp_path / "theirs", tmp_path / "prepared")
  np.testing.assert_array_equal(found, expected)
  plain = vectors(config(tiny_data, **title), tmp_path / "plain", tiny_data)
  assert not np.allclose(found, plain)
  # Without the option data of another tokenizer stay refused.
  with pytest.raises(UserError, match="was prepared with tokenizer"):
    export(
      tmp_path / "theirs" / "run", data=tiny_data, split="test", out=tmp_path
    )
  # The file may move: what counts is what it holds.
  moved = shutil.copy(other, tmp_path / "moved.json")
  train(
    config(tiny_data, data__tokenizer=str(moved), **title),
    tmp_path / "ours" / "run",
  )
  with pytest.raises(UserError, match="tokenizer: was"):
    train(config(tiny_data, **title), tmp_path / "ours" / "run")


def test_weights_as_they_are_need_no_categories(tiny_data, tmp_path):
  data = tmp_path / "data"
  shutil.copytree(tiny_data, data)
  catalogue = json.loads((data / "catalogue.json").read_text())
  catalogue["categories"] = {"leaves": 0, "rows": {}}
  (data / "catalogue.json").write_text(json.dumps(catalogue))
  write_manifest(data)
  image = {"model__name": "resnet50", "resnet__norm": "batch"}
  assert vectors(config(data, **image), tmp_path, data).shape[1] == 32 * 16


def test_no_task_trains_nothing(tiny_data, tmp_path):
  with pytest.raises(UserError, match=r"task='none': .* in steps=5"):
    train(config(tiny_data, steps=5, optim__warmup=1), tmp_path / "run")


def test_steps_in_which_nothing_moves_are_refused(tiny_data, tmp_path):
  made = tiny_run.get_config("roberta")
  made.data.path = str(tiny_data)
  train(made, tmp_path / "start")
  made.start_from, made.optim.start_rate = str(tmp_path / "start"), 0.0
  with pytest.raises(
    UserError, match=r"all parameters come from .* train nothing"
  ):
    train(made, tmp_path / "run")
  assert not (tmp_path / "run" / "run.json").exists()
  made.task = "category"  # its head is made new, and moves
  assert train(made, tmp_path / "run").step == made.steps
