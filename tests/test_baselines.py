"""The baselines: worked by hand, and as published for real sets."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from item_jax.evaluation import baselines
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import score, score_found
from item_jax.evaluation.search import search

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def test_word_weights_by_hand():
  matrix = baselines.tfidf_vectors(
    ["red Red shoe", "shoe blue", "", "RED  tie\tx"]
  )
  assert matrix.words == ["red", "shoe", "blue", "tie", "x"]
  # Columns in order of first sight: red, shoe, blue, tie, x.
  both, once = math.log(5 / 3) + 1, math.log(5 / 2) + 1
  rows = np.array(
    [
      [2 * both, both, 0, 0, 0],
      [0, both, once, 0, 0],
      [0, 0, 0, 0, 0],
      [both, 0, 0, once, once],
    ]
  )
  rows[[0, 1, 3]] /= np.linalg.norm(rows[[0, 1, 3]], axis=1, keepdims=True)
  np.testing.assert_allclose(matrix.sparse_NV.toarray(), rows, atol=1e-12)


@pytest.mark.parametrize("titles", [["", "", ""], ["a", "", "b"]])
def test_titles_without_a_common_word_rank_by_id(titles):
  found = search(baselines.tfidf_vectors(titles), ["c", "a", "b"], k=3)
  assert found.rows_QK.tolist() == [[1, 2, -1], [2, 0, -1], [1, 0, -1]]
  assert (found.scores_QK[:, :2] == 0).all()


@pytest.mark.parametrize("tile", [8, 37, 4096])
def test_sparse_search_ranks_as_the_dense_one(tile):
  random = np.random.default_rng(0)
  words = [f"w{n}" for n in range(30)]
  titles = [
    " ".join(random.choice(words, random.integers(1, 6))) for _ in range(150)
  ]
  titles[20:40] = [titles[0]] * 20
  ids = [f"id{n}" for n in random.permutation(150)]
  matrix = baselines.tfidf_vectors(titles)
  index = np.arange(1, 150, 2)
  found = search(matrix, ids, k=12, index=index, tile=tile)
  dense = search(matrix.sparse_NV.toarray(), ids, k=12, index=index)
  # Dense rows are rounded to float32 first, so scores agree to its last bits.
  np.testing.assert_allclose(found.scores_QK, dense.scores_QK, atol=2e-7)
  assert (found.rows_QK != np.arange(150)[:, None]).all()
  whole = search(matrix, ids, k=12, index=index)
  np.testing.assert_array_equal(found.rows_QK, whole.rows_QK)
  np.testing.assert_array_equal(found.scores_QK, whole.scores_QK)


def test_thumbnail_is_the_mean_of_what_a_pixel_covers():
  photo = np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)
  means = photo.reshape(16, 4, 16, 2, 3).mean(axis=(1, 3))
  small = baselines.shrink(photo)
  assert small.dtype == np.uint8
  assert np.abs(small - means).max() <= 0.5


def test_colours_are_apart_from_the_mean_and_missing_photos_match_none():
  grey = [np.full((16, 16, 3), value, np.uint8) for value in (10, 30, 20)]
  vectors = baselines.colours([*grey, None])
  assert vectors.dtype == np.float32
  assert (vectors[0, :-1] == -10).all()
  assert (vectors[1, :-1] == 10).all()
  assert not vectors[2:, :-1].any()  # the mean itself, and no photo
  assert vectors[:, -1].tolist() == [0, 0, 1, 1]
  found = search(vectors, list("abcd"), k=3)
  assert found.scores_QK[0].tolist() == [0, 0, -1]
  assert baselines.colours([None, None]).any(axis=1).all()


def real_rows(name):
  with open(REAL / name / "products.csv", encoding="utf-8") as file:
    return [row for row in csv.DictReader(file) if row["split"] == "test"]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real catalogues beside this")
@pytest.mark.parametrize(
  ("name", "queries", "words", "colours"),
  [
    ("hm", 518, (0.676, 0.485), (0.256, 0.168)),
    ("ikea", 70, (1.0, 1.0), (0.441, 0.305)),
    ("grocery", 2485, (0.338, 0.338), (0.086, 0.068)),
  ],
)
def test_published_figures_of_real_catalogues(name, queries, words, colours):
  rows = real_rows(name)
  items = Items(
    [row["listing_id"] for row in rows], [row["product_id"] for row in rows]
  )
  matrix = baselines.tfidf_vectors([row["title"] for row in rows])
  found = search(matrix, items.ids, k=10)
  photos = (cv2.imread(str(REAL / name / row["image"])) for row in rows)
  vectors = baselines.colours(baselines.shrink(photo) for photo in photos)
  for scored, expected in (
    (score_found(found, items, bootstrap=1), words),
    (score(vectors, items, bootstrap=1), colours),
  ):
    assert scored.summary["queries"] == queries
    figures = [scored.summary[what] for what in ("recall@10", "map@10")]
    assert figures == pytest.approx(expected, abs=6e-4)
