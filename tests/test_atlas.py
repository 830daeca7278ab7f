"""What embedding-atlas is given is the export, its listings and the search."""

import sys
import types

import numpy as np
import pyarrow.parquet
import pytest
import simplejpeg
from exports import write_export
from pages import COUNT, HOSTILE, listings, named, store

import item_jax
from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation import atlas


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return store(tmp_path_factory.mktemp("atlas") / "data", listings())


def vectors_of(seed=0):
  product_NP = np.eye(10)[np.arange(COUNT) // 3]
  noise_NP = np.random.default_rng(seed).normal(0, 0.4, (COUNT, 10))
  return product_NP + noise_NP


@pytest.fixture
def export(tmp_path):
  rows = named(listings())
  return write_export(tmp_path / "E", vectors_of(), rows, split="test")


def test_a_row_is_a_listing_with_whom_the_search_finds(data, export):
  path = atlas.write_atlas(export, data)
  assert path == export / "atlas.parquet"
  rows = pyarrow.parquet.read_table(path).to_pylist()
  found = item_jax.search(
    item_jax.open_export(export).vectors, [x["id"] for x in rows], k=10
  )
  for number, (row, listing) in enumerate(zip(rows, listings(), strict=True)):
    assert (row["id"], row["product"], row["category"], row["title"]) == (
      listing.listing_id,
      listing.product_id,
      listing.category,
      listing.title,
    )
    near = row["neighbors"]
    assert near["ids"] == found.rows_QK[number].tolist()
    np.testing.assert_allclose(
      1 - np.array(near["distances"]), found.scores_QK[number], atol=1e-6
    )
    assert near["distances"] == sorted(near["distances"])
    assert row["hits"] == sum(x // 3 == number // 3 for x in near["ids"])
  assert rows[0]["title"] == HOSTILE
  assert [n for n, row in enumerate(rows) if row["image"] is None] == [1]
  small = simplejpeg.decode_jpeg(rows[4]["image"]["bytes"])
  assert small.shape == (120, 64, 3)  # as it was: it is small
  xy_N2 = np.array([[row["projection_x"], row["projection_y"]] for row in rows])
  assert np.isfinite(xy_N2).all()
  assert atlas.find_atlas(export) == path


def test_hits_by_hand():
  near_NK = np.array([[1, 2], [2, 0], [3, -1], [0, 1], [0, 1]])
  products = ["a", "a", "b", "a", ""]
  assert atlas.count_hits(products, near_NK) == [1, 1, None, 2, None]


def test_products_lie_together_on_the_plane():
  vectors_ND = np.eye(10, dtype=np.float32)[np.arange(100) // 10]
  vectors_ND += np.random.default_rng(0).normal(0, 0.05, vectors_ND.shape)
  xy_N2 = atlas.project(vectors_ND)
  far_NN = np.linalg.norm(xy_N2[:, None] - xy_N2[None], axis=-1)
  np.fill_diagonal(far_NN, np.inf)
  assert (far_NN.argmin(1) // 10 == np.arange(100) // 10).mean() > 0.95
  np.testing.assert_array_equal(atlas.project(vectors_ND), xy_N2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_equal_rows_have_a_place_without_a_warning(rows):
  placed = atlas.project(np.ones((rows, 8), np.float32))
  assert placed.shape == (rows, 2)
  assert np.isfinite(placed).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_few_rows_have_a_place(rows):
  xy_N2 = atlas.project(np.eye(rows, 4, dtype=np.float32))
  assert xy_N2.shape == (rows, 2)
  assert np.isfinite(xy_N2).all()


def test_what_cannot_be_browsed_says_why(data, export, tmp_path, monkeypatch):
  with pytest.raises(UserError, match=r"has no atlas\.parquet: .*--atlas"):
    item_jax.browse(export)
  atlas.write_atlas(export, data)
  monkeypatch.setitem(sys.modules, "embedding_atlas", None)
  for start in (item_jax.browse, lambda x: atlas.serve(x, port=1)):
    with pytest.raises(UserError, match=r"embedding-atlas .*\[browse\]"):
      start(export)
  other = write_export(
    tmp_path / "F", vectors_of(seed=1), named(listings()), split="test"
  )
  (export / "atlas.parquet").rename(other / "atlas.parquet")
  with pytest.raises(UserError, match="is of other embeddings than its export"):
    item_jax.browse(other)
  fewer = write_export(
    tmp_path / "G", vectors_of()[:3], named([*listings()][:3]), split="test"
  )
  with pytest.raises(UserError, match=r"has 3 rows, .* has 30"):
    atlas.write_atlas(fewer, data)


def test_the_command_starts_it_on_this_machine_only(data, export, monkeypatch):
  atlas.write_atlas(export, data)
  called = []
  cli = types.ModuleType("embedding_atlas.cli")
  cli.main = lambda given, standalone_mode: called.append(given)
  monkeypatch.setitem(
    sys.modules, "embedding_atlas", types.ModuleType("embedding_atlas")
  )
  monkeypatch.setitem(sys.modules, "embedding_atlas.cli", cli)
  assert main(["browse", str(export), "--port=6000"]) == 0
  (given,) = called
  assert given[0] == str(export / "atlas.parquet")
  assert given[-2:] == ["--host=127.0.0.1", "--port=6000"]
  columns = pyarrow.parquet.read_schema(given[0]).names
  pairs = dict(zip(given[1:-2:2], given[2:-2:2], strict=True))
  assert {*pairs} == {"--text", "--image", "--x", "--y", "--neighbors"}
  assert {*pairs.values()} <= {*columns}
