"""What version 0.1 wrote still opens: a data set, a workdir and an export.

tests/kept/version_0_1.tar.gz holds 24 synthetic products, a run of 4 steps
with checkpoints 2 and 4, and its embeddings of the test split.
"""

import json
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.training.checkpoint_dir import Steps

KEPT = Path(__file__).parent / "kept" / "version_0_1.tar.gz"
# Another kind of CPU adds in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
  with tarfile.open(KEPT) as archive:
    archive.extractall(tmp_path, filter="data")
  monkeypatch.chdir(tmp_path)  # the run names its data as "data"
  return tmp_path


def rows(workdir: Path) -> dict:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  return {(row["step"], row["kind"]): row for row in found}


def test_the_data_set_is_whole(kept):
  assert main(["verify", "data", "--records"]) == 0
  store = open_dataset(kept / "data")
  assert sum(store.sizes.values()) == sum(
    len(list(store.source(split))) for split in store.sizes
  )


def test_the_run_is_exported_and_scored_as_it_was(kept, capsys):
  words = ["--workdir=run", "--data=data", "--split=test", "--step=4"]
  assert main(["export", *words, "--out=again"]) == 0
  np.testing.assert_allclose(
    np.load("again/embeddings.npy"), np.load("export/embeddings.npy"), **CLOSE
  )
  assert Path("again/items.csv").read_bytes() == (
    Path("export/items.csv").read_bytes()
  )
  scores = []
  for folder in ("again", "export"):
    assert main(["evaluate", folder, f"--json={folder}.json"]) == 0
    scores.append(json.loads(Path(f"{folder}.json").read_text()))
  for name, value in scores[1].items():
    if isinstance(value, float):
      assert scores[0][name] == pytest.approx(value), name


def test_the_run_goes_on_as_it_did(kept):
  before = rows(kept / "run")
  shutil.rmtree("run/checkpoints/4")
  steps = Steps(kept / "run", keep=2, best="both/map@10")
  assert steps.steps() == [2]
  config = Path(__file__).parents[1] / "configs" / "item_align.py"
  options = {
    "data.path": "data",
    "steps": 4,
    "batch_size": 8,
    "log_every": 1,
    "eval_every": 4,
    "checkpoint.every": 2,
    "checkpoint.keep": 2,
    "model.layers": 1,
    "model.width": 16,
    "model.heads": 2,
    "model.mlp": 32,
    "model.sides": 0,  # the config had none yet
    "model.cls_share": 0.1,
    "model.vocab_pad_multiple": 8,
    "optim.warmup": 2,
    "mesh.data": jax.device_count(),
  }
  words = [f"--config.{name}={value}" for name, value in options.items()]
  assert (
    main(["train", f"--config={config}:tiny", "--workdir=run", *words]) == 0
  )
  after = rows(kept / "run")
  assert after.keys() == before.keys()
  for key, row in before.items():
    for name in row.keys() - {"samples_per_second", "input_wait"}:
      if name != "kind":
        assert after[key][name] == pytest.approx(row[name], rel=1e-3), name
