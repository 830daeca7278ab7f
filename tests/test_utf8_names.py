"""Names of files that are no UTF-8, and locales that take them for others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import item_jax
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation.index import build_index
from item_jax.ingest.prepare import prepare
from item_jax.synthetic.synthesize import synthesize
from item_jax.training.restore import restore
from item_jax.training.run import exclusive_run


def _no_utf8(tmp_path: Path) -> Path:
  """A path with a name in Latin-1, as an old disk has it."""
  return Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))


@pytest.mark.parametrize(
  "use",
  [
    lambda path, data: open_dataset(path),
    lambda path, data: exclusive_run(path).__enter__(),
    lambda path, data: restore(path),
    lambda path, data: build_index("tfidf", engine="faiss", out=path),
    lambda path, data: prepare([], images=data, out=path),
  ],
)
def test_a_name_that_libraries_in_cpp_do_not_find_is_refused(
  use, tiny_data, tmp_path
):
  path = _no_utf8(tmp_path)
  shutil.copytree(tiny_data, path)
  (path / "run.json").touch()
  with pytest.raises(UserError, match="expected a path in UTF-8; rename"):
    use(path, tiny_data)


def test_a_locale_that_is_not_utf8_changes_no_name(tmp_path):
  synthesize(tmp_path / "é", products=8, image_size=32)
  env = {
    **os.environ,
    **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
  }
  words = ["prepare", "é/products.csv", "--out=ü", "--workers=0"]
  ended = subprocess.run(
    [sys.executable, "-m", "item_jax", *words],
    env=env | {"PYTHONPATH": str(Path(item_jax.__file__).parents[1])},
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 0, ended.stderr
  assert len(open_dataset(tmp_path / "ü").source("train")) > 0
