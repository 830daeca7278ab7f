"""What the quickstart must find, in which order: two sides more than one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import shell

QUICKSTART = Path(__file__).parents[1] / "launch" / "quickstart.sh"


@pytest.mark.slow
def test_both_sides_find_more_than_either(tmp_path):
  """The README's first command, five minutes on two cores."""
  out = tmp_path / "q"
  subprocess.run(
    ["bash", QUICKSTART, "--python", sys.executable, "--out", out], check=True
  )
  results = json.loads((out / "results.json").read_text())
  found = {name: row["recall@10"] for name, row in results.items()}
  embeddings = out / "embeddings"
  shell.run(
    "fuse",
    embeddings / "image",
    embeddings / "title",
    f"--out={embeddings / 'fused'}",
  )
  shell.run("evaluate", embeddings / "fused", f"--json={tmp_path / 's.json'}")
  found["fused"] = json.loads((tmp_path / "s.json").read_text())["recall@10"]
  for whole in ("both", "fused"):
    assert found[whole] > max(found["image"], found["title"]), found
    assert found[whole] > max(found["tfidf"], found["thumbnail"]), found
  assert min(found["image"], found["title"]) > found["untrained"], found
