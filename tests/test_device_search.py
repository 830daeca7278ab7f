"""Devices find what numpy finds, to the bit, however the work is cut."""

import json
import subprocess
import sys

import numpy as np
import pytest
import shell
import test_retrieval
from test_search import crowded, gaussians, names, signs

from item_jax.errors import UserError
from item_jax.evaluation import retrieval, search
from item_jax.inference import device_search


def assert_same(vectors, ids, **options):
  ours = device_search.search(vectors, ids, **options)
  numpys = search.search(vectors, ids, **options)
  np.testing.assert_array_equal(ours.rows_QK, numpys.rows_QK)
  np.testing.assert_array_equal(ours.scores_QK, numpys.scores_QK)
  assert ours.rows_QK.dtype == numpys.rows_QK.dtype


@pytest.mark.parametrize("rows", [1, 3, 5, 203])
def test_any_number_of_rows_on_four_devices(rows):
  """Fewer than devices, and not divisible by them."""
  assert_same(gaussians(rows, 24), names(rows, shuffled=1), k=10)


@pytest.mark.parametrize("tile", [7, 64])
def test_ties_go_to_the_smaller_id(tile):
  assert_same(signs(150, 16), names(150, shuffled=2), k=10, tile=tile)


@pytest.mark.parametrize("kind", ["all alike", "all equal", "pairs"])
def test_what_float32_cannot_tell_apart(kind):
  assert_same(crowded(kind), names(200, shuffled=3), k=5, tile=64)


def test_clusters_and_copies():
  vectors = np.repeat(gaussians(40, 32), 6, axis=0)
  vectors += 1e-3 * gaussians(240, 32, seed=1)
  vectors[100:170] = vectors[3]  # more copies than candidates
  assert_same(vectors, names(240, shuffled=4), k=10, tile=128)


def test_queries_apart_from_the_index():
  asked = {"queries": np.arange(0, 120, 3), "index": np.arange(119, 40, -2)}
  vectors, ids = gaussians(120, 24), names(120, shuffled=5)
  assert_same(vectors, ids, k=9, tile=32, **asked)
  none = device_search.search(vectors, ids, k=9, queries=np.arange(0))
  assert none.rows_QK.shape == (0, 9)


def test_block_by_block(monkeypatch):
  """More of the index than a device is to hold."""
  monkeypatch.setattr(device_search, "_BLOCK", 16)
  assert_same(gaussians(300, 24), names(300, shuffled=6), k=5, tile=10)


def test_most_queries_need_no_second_look(monkeypatch):
  unsettled = []
  rank = search._rank_exactly

  def count(asked, queries, **options):
    unsettled.extend(queries)
    return rank(asked, queries, **options)

  monkeypatch.setattr(search, "_rank_exactly", count)
  device_search.search(
    gaussians(2000, 64), names(2000), k=10, queries=np.arange(500)
  )
  assert len(unsettled) < 5


def test_bad_rows_are_named_before_any_device_is_asked():
  with pytest.raises(UserError, match=r"row 1 .* all zero"):
    device_search.search(
      np.eye(3)[[0, 0, 1]] * [[1], [0], [1]], list("abc"), k=1
    )


def test_the_worked_example():
  one, two = (
    retrieval.score(*test_retrieval.golden_b(), k=(1, 3), search=how).summary
    for how in (search.search, device_search.search)
  )
  assert one == two


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  folder = tmp_path_factory.mktemp("files")
  vectors, items = test_retrieval.clusters()
  return test_retrieval.write(folder, vectors, items)


def test_two_processes_of_two_devices_say_what_one_says(files, tmp_path):
  words = ["evaluate", f"--embeddings={files[0]}", f"--items={files[1]}"]
  words += ["--devices", "--bootstrap=10"]
  written = [f"--json={tmp_path / 'a'}", f"--per_query={tmp_path / 'b'}"]
  both = shell.start_together(*words, *written, devices=2)
  outputs = shell.outputs(both)
  assert [process.returncode for process in both] == [0, 0], outputs
  assert "queries" in outputs[0]
  assert "queries" not in outputs[1]
  scores = retrieval.score(*files, bootstrap=10)
  scores.write_per_query(tmp_path / "c")
  assert json.loads((tmp_path / "a").read_text()) == scores.to_dict()
  assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


_NO_JAX = """
import sys
from item_jax.__main__ import main
assert main(sys.argv[1:]) == 0
assert "jax" not in sys.modules
"""


def test_without_the_flag_no_device_is_needed(files):
  words = ["evaluate", f"--embeddings={files[0]}", f"--items={files[1]}"]
  subprocess.run(
    [sys.executable, "-c", _NO_JAX, *words, "--bootstrap=10"],
    check=True,
    capture_output=True,
  )
