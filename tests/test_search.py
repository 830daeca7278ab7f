"""The search is exact, ties go by id, and how it is cut changes nothing."""

import json
import os
import subprocess
import sys
import types
import uuid

import numpy as np
import pandas
import pyarrow
import pytest

from item_jax.__main__ import main
from item_jax.diagnostics.search_bench import bench_search
from item_jax.errors import UserError
from item_jax.evaluation import ranking, retrieval
from item_jax.evaluation import search as module
from item_jax.evaluation.search import search


def names(count, *, shuffled=None):
  """Ids whose order as text is not that of the rows."""
  ids = [f"id{row}" for row in range(count)]
  if shuffled is not None:
    np.random.default_rng(shuffled).shuffle(ids)
  return ids


def signs(count, width, seed=0):
  """Rows of +-1: their products are whole numbers, so ties are certain."""
  random = np.random.default_rng(seed)
  return random.choice([-1.0, 1.0], size=(count, width)).astype(np.float32)


def gaussians(count, width, seed=0):
  random = np.random.default_rng(seed)
  return random.standard_normal((count, width)).astype(np.float32)


def by_hand(dot_NN, ids, k, queries=None, index=None):
  """The plainest ranking there is, from a matrix of all scores."""
  index = range(len(ids)) if index is None else index
  lists = []
  for query in range(len(ids)) if queries is None else queries:
    others = [row for row in index if row != query]
    others.sort(key=lambda row: (-dot_NN[query, row], ids[row]))
    lists.append((others + [-1] * k)[:k])
  return np.array(lists)


@pytest.mark.parametrize("tile", [1, 7, 64, 1000])
@pytest.mark.parametrize("k", [1, 10])
def test_ties_go_to_the_smaller_id_for_every_tile(tile, k):
  vectors = signs(300 if tile > 1 else 40, 16)
  ids = names(len(vectors), shuffled=1)
  whole = vectors.astype(int) @ vectors.astype(int).T
  found = search(vectors, ids, k=k, tile=tile)
  expected = by_hand(whole, ids, k)
  np.testing.assert_array_equal(found.rows_QK, expected)
  exact = np.take_along_axis(whole, expected, 1) / 16
  np.testing.assert_array_equal(found.scores_QK, exact.astype(np.float32))


def test_ties_of_numbers_go_as_their_texts_do():
  alike = np.ones((12, 2), np.float32)
  found = search(alike, range(12), k=3)
  np.testing.assert_array_equal(found.rows_QK[0], [1, 10, 11])
  as_text = search(alike, [f"{row}" for row in range(12)], k=3)
  np.testing.assert_array_equal(found.rows_QK, as_text.rows_QK)


@pytest.mark.parametrize(
  "ids",
  [
    [uuid.UUID(int=row) for row in range(3)],
    np.array(["a", "b", "c"], "S"),
    [0.5, 1.5, 2.5],
    pandas.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]),
  ],
  ids=["uuid", "bytes", "float", "time"],
)
def test_what_can_name_a_row_may_be_an_id(ids):
  assert search(signs(3, 4), ids, k=2).rows_QK.shape == (3, 2)


@pytest.mark.parametrize("bad", [None, np.nan, pandas.NA, True, ["a"]])
def test_what_names_nothing_is_no_id(bad):
  with pytest.raises(UserError, match=r"ids: row 1 is .*; expected a text"):
    search(signs(3, 4), ["a", bad, "c"], k=2)


def test_in_an_index_of_no_rows_nothing_is_found():
  found = search(signs(3, 4), names(3, shuffled=0), k=2, index=[])
  assert (found.rows_QK == -1).all()


def test_random_vectors_with_copies_as_in_float64():
  vectors = gaussians(500, 768)
  vectors[100:200] = vectors[0]  # far more copies than results
  vectors[300] = vectors[301] * 4
  ids = names(500, shuffled=2)
  unit = vectors.astype(float)
  unit /= np.linalg.norm(unit, axis=1, keepdims=True)
  # To six places: copies tie, and no two other scores are as close.
  expected = by_hand(np.round(unit @ unit.T, 6), ids, 10)
  found = search(vectors, ids, k=10)
  np.testing.assert_array_equal(found.rows_QK, expected)
  cosine = np.take_along_axis(unit @ unit.T, expected, 1)
  np.testing.assert_allclose(found.scores_QK, cosine, atol=1.2e-7)


def test_equal_directions_have_a_cosine_of_one():
  vectors = np.repeat(gaussians(20, 768), 2, axis=0)
  vectors[1::2] *= -3
  found = search(np.abs(vectors[:, :1]) * vectors, names(40), k=39)
  assert (np.abs(found.scores_QK[:, -1]) == 1).all()
  ones = search(np.ones((3, 1000)), names(3), k=2)
  assert (ones.scores_QK == 1).all()


def crowded(kind):
  """Vectors whose order float32 products cannot tell."""
  if kind == "all alike":
    return 1 + 1e-6 * gaussians(200, 96)
  if kind == "all equal":
    return np.ones((200, 96), np.float32)
  near = gaussians(200, 96)
  near[::2] = np.nextafter(near[1::2], np.float32(np.inf))
  return near


@pytest.mark.parametrize("kind", ["all alike", "all equal", "pairs"])
def test_no_tile_and_no_short_cut_changes_a_bit(kind, monkeypatch):
  vectors, ids = crowded(kind), names(200, shuffled=3)
  found = [search(vectors, ids, k=5, tile=tile) for tile in (20, 128, 4096)]
  settle = module._settle

  def unsettled(*args, **kwargs):
    places, scores, settled = settle(*args, **kwargs)
    return np.zeros_like(places), scores * 0, np.zeros_like(settled)

  monkeypatch.setattr(module, "_settle", unsettled)
  exact = search(vectors, ids, k=5)
  for other in found:
    np.testing.assert_array_equal(other.rows_QK, exact.rows_QK)
    np.testing.assert_array_equal(other.scores_QK, exact.scores_QK)


def test_scores_rest_on_sums_that_no_order_can_change():
  vectors = gaussians(30, 768)
  rows = np.arange(30)
  scale = 1 / module.lengths(vectors, names(30))
  problem = module.Problem(vectors, scale, rows, rows, rows)
  grid, _ = module._on_grid(problem, rows)
  whole = [[int(value) for value in row] for row in grid]
  assert (grid == np.array(whole)).all()
  exact = [
    [sum(a * b for a, b in zip(one, two, strict=True)) for two in whole]
    for one in whole
  ]
  assert (grid @ grid.T == np.array(exact, float)).all()
  assert max(max(row) for row in exact) < 2**53


def test_most_queries_need_no_second_look():
  vectors = gaussians(3000, 64)
  rows = np.arange(500)
  index, place = ranking.in_id_order(names(3000), None)
  scale = 1 / module.lengths(vectors, names(3000))
  problem = module.Problem(vectors, scale, rows, index, place[rows])
  found = module._candidates(problem, kept=36, tile=512)(slice(0, 500))
  *_, settled = module._settle(problem, *found, k=10)
  assert settled.mean() > 0.99


@pytest.mark.parametrize("power", [0, 20, 96])  # of the longest row
def test_order_and_length_of_the_rows_do_not_matter(power):
  """Neither do lengths near the ends of what is taken."""
  vectors, ids = gaussians(200, 24), names(200, shuffled=4)
  vectors[50:60] = vectors[7]
  found = search(vectors, ids, k=10)
  order = np.random.default_rng(5).permutation(200)
  scale = 2.0 ** np.random.default_rng(6).integers(-power, power + 1, (200, 1))
  moved = search(
    (vectors * scale)[order].astype(np.float32),
    [ids[row] for row in order],
    k=10,
  )
  np.testing.assert_array_equal(order[moved.rows_QK], found.rows_QK[order])
  np.testing.assert_array_equal(moved.scores_QK, found.scores_QK[order])


def test_queries_search_the_index_alone_and_never_find_themselves():
  vectors, ids = signs(120, 16, seed=7), names(120, shuffled=8)
  queries, index = np.arange(0, 120, 3), np.arange(119, 40, -2)
  found = search(vectors, ids, k=9, queries=queries, index=index, tile=16)
  whole = vectors.astype(int) @ vectors.astype(int).T
  expected = by_hand(whole, ids, 9, queries.tolist(), index.tolist())
  np.testing.assert_array_equal(found.rows_QK, expected)
  assert not (found.rows_QK == queries[:, None]).any()


def test_rows_are_named_by_lists_and_masks_too():
  vectors_ND, ids = gaussians(30, 4), names(30)
  rows, searched = [3, 7, 8], range(5, 25)
  found = search(
    vectors_ND, ids, k=3, queries=np.array(rows), index=np.array(searched)
  )
  in_rows_N, in_searched_N = (
    np.isin(np.arange(30), x) for x in (rows, searched)
  )
  for queries, index in ((rows, searched), (in_rows_N, in_searched_N)):
    again = search(vectors_ND, ids, k=3, queries=queries, index=index)
    np.testing.assert_array_equal(again.rows_QK, found.rows_QK)
    assert str(again) == str(found)


def test_ids_are_taken_by_their_place():
  """A data frame that was shuffled or filtered keeps the labels of its rows."""
  frame = pandas.DataFrame({"id": names(40)}).sample(frac=0.5, random_state=0)
  vectors_ND = gaussians(20, 4)
  found = search(vectors_ND, frame["id"].tolist(), k=3)
  for ids in (frame["id"], frame["id"].to_numpy(), pyarrow.array(frame["id"])):
    again = search(vectors_ND, ids, k=3)
    assert again.to_frame().equals(found.to_frame())
    assert str(again) == str(found)


@pytest.mark.parametrize(
  "rows", [[-1], [30], [0.5], [[1]], np.ones(29, bool), ["id1"]]
)
def test_what_names_no_rows_is_refused(rows):
  for name in ("queries", "index"):
    with pytest.raises(UserError, match=f"{name} .* expected row numbers"):
      search(gaussians(30, 4), names(30), k=3, **{name: rows})
  with pytest.raises(UserError, match="a row twice"):
    search(gaussians(30, 4), names(30), k=3, index=[1, 1, 2])


@pytest.mark.parametrize(
  ("ids", "says"),
  [
    (["a", "b", "a"], r"ids: duplicate id 'a' in rows 0 and 2; .* each once"),
    ([["a"], ["b"], ["c"]], r"ids: row 0 is \['a'\], a list; expected a text"),
    ({"a": 1, "b": 2, "c": 3}, "ids={'a': 1, 'b': 2, 'c': 3}: expected a list"),
    (dict.fromkeys("abc").keys(), "expected a list, an id of each row"),
  ],
)
def test_ids_that_name_no_row_are_refused(ids, says):
  with pytest.raises(UserError, match=says):
    search(gaussians(3, 4), ids, k=1)


@pytest.mark.parametrize(
  ("vectors", "says"),
  [
    (np.eye(3, dtype=int), "holds int64; expected float32"),
    (np.eye(3, dtype=bool), "holds bool"),
    (np.eye(3, dtype=complex), "holds complex128"),
    (np.eye(3).astype(object), "holds object"),
    (np.ma.array(np.eye(3), mask=np.eye(3) > 0), "masked"),
  ],
)
def test_what_are_no_floats_is_refused(vectors, says):
  with pytest.raises(UserError, match=says):
    search(vectors, ["a", "b", "c"], k=1)
  with pytest.raises(UserError, match=says):
    retrieval.score(vectors, {"id": ["a", "b", "c"], "product": ["p"] * 3})


class Foreign:
  """What numpy cannot read, as torch's tensors that have a gradient."""

  def __array__(self, *args, **options):
    raise RuntimeError("Can't call numpy() on it. Use tensor.detach().numpy()")


def test_what_is_no_array_is_refused_by_what_it_is(tmp_path):
  has_vectors = types.SimpleNamespace(vectors=np.eye(3))
  for vectors, says in (
    (Foreign(), r"are a Foreign that numpy cannot read \(.*tensor.detach"),
    (has_vectors, "are a SimpleNamespace; .* as its .vectors are"),
    ((x for x in np.eye(3)), r"are a generator; expected an array \[N, D\]$"),
    (tmp_path, "is a folder; expected an .npy file"),
  ):
    with pytest.raises(UserError, match=says):
      search(vectors, ["a", "b", "c"], k=1)


@pytest.mark.parametrize("tile", [0, -3, 2.5])
def test_a_tile_of_no_queries_is_refused(tile):
  with pytest.raises(UserError, match=f"tile={tile}: expected a whole number"):
    search(np.eye(3), ["a", "b", "c"], k=1, tile=tile)


def test_more_than_the_index_holds_costs_no_work():
  asked = []
  find = module._candidates

  def candidates(problem, *, kept, tile):
    asked.append(kept)
    return find(problem, kept=kept, tile=tile)

  vectors_ND = gaussians(9, 4)
  found = search(vectors_ND, names(9), k=9_999, candidates=candidates)
  assert max(asked) < 100
  assert found.rows_QK.shape == (9, 9_999)
  exact = search(vectors_ND, names(9), k=8)
  np.testing.assert_array_equal(found.rows_QK[:, :8], exact.rows_QK)
  np.testing.assert_array_equal(found.scores_QK[:, :8], exact.scores_QK)
  assert (found.rows_QK[:, 8:] == -1).all()


def test_rows_that_ids_alone_would_rank_are_not_scored():
  null_ND = np.full((3, 4), -0.5, np.float32)
  items = {"id": ["a", "b", "c"], "product": ["p"] * 3}
  with pytest.raises(UserError, match="all 3 rows are one vector"):
    retrieval.score((null_ND, items))


def test_a_list_of_rows_is_an_array_or_refused():
  vectors_ND = gaussians(20, 4).astype(np.float64)
  found = search(vectors_ND.tolist(), names(20), k=3)
  again = search(vectors_ND, names(20), k=3)
  np.testing.assert_array_equal(found.rows_QK, again.rows_QK)
  np.testing.assert_array_equal(found.scores_QK, again.scores_QK)
  with pytest.raises(UserError, match="are a list of rows of several lengths"):
    search([[1.0, 2.0], [1.0]], names(2), k=1)
  with pytest.raises(UserError, match="holds <U1; expected float32"):
    search([["1", "2"], ["3", "4"]], names(2), k=1)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_small_index_leaves_places_empty(rows):
  found = search(np.eye(5, dtype=np.float32)[:rows], names(rows), k=10, tile=2)
  assert (found.rows_QK[:, : rows - 1] >= 0).all()
  assert (found.rows_QK[:, rows - 1 :] == -1).all()
  assert (found.scores_QK[:, rows - 1 :] == -np.inf).all()


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_floats_are_taken_as_float32(dtype, tmp_path):
  vectors = gaussians(80, 12).astype(dtype)
  np.save(tmp_path / "x.npy", np.asfortranarray(vectors))
  mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
  found = search(mapped, names(80), k=5)
  expected = search(vectors.astype(np.float32), names(80), k=5)
  np.testing.assert_array_equal(found.rows_QK, expected.rows_QK)
  np.testing.assert_array_equal(found.scores_QK, expected.scores_QK)


@pytest.mark.parametrize(
  ("bad", "says"),
  [
    (np.nan, "row 2 (id 'id2') has a NaN at value 1"),
    (np.inf, "row 2 (id 'id2') is infinite in float32 at value 1"),
    (-np.inf, "row 2 (id 'id2') is infinite in float32 at value 1"),
    (1e200, "row 2 (id 'id2') is infinite in float32 at value 1"),
    (0, "row 2 (id 'id2') is all zero"),
    (1e-36, "row 2 (id 'id2') has length 1e-36"),
    (1e36, "row 2 (id 'id2') has length 1e+36"),
  ],
)
def test_rows_without_a_cosine_are_named(bad, says):
  vectors = np.ones((4, 3))
  vectors[2] = 0
  vectors[2, 1] = bad
  vectors[3] = vectors[2]
  with pytest.raises(UserError) as error:
    search(vectors, names(4), k=1)
  assert says in str(error.value)
  assert "2 of 4 rows" in str(error.value)


def test_keys_sort_as_score_then_smaller_place():
  scores = np.array([-1, -0.5, -1e-30, 0, 1e-30, 0.5, 1], np.float32)
  keys = ranking.pack(np.repeat(scores, 2), np.tile([9, 3], 7))
  assert (np.diff(keys) > 0).all()
  places, back = ranking.unpack(keys)
  np.testing.assert_array_equal(places, np.tile([9, 3], 7))
  np.testing.assert_array_equal(back, np.repeat(scores, 2))


_MANY = """
import resource, sys
import numpy as np
from item_jax.evaluation.search import search
rows = int(sys.argv[1])
x = np.random.default_rng(0).standard_normal((rows, 8), dtype=np.float32)
ids = [f"{n:06d}" for n in range(rows)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert search(x, ids, k=10, tile=1024).rows_QK.min() >= 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_bounded_whatever_the_index():
  rows = 20_000  # all scores at once would be 1,600 MB
  done = subprocess.run(
    [sys.executable, "-c", _MANY, str(rows)],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
  )
  grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
  assert grown < 200e6


def test_the_bench_prints_and_writes_what_it_measures(tmp_path, capsys):
  path = tmp_path / "bench.json"
  words = ["--items=3000", "--dim=16", "--queries=600", f"--json={path}"]
  assert main(["bench", "search", *words]) == 0
  result = json.loads(path.read_text())
  assert result["queries_per_second"] == 600 / result["seconds"]
  assert result["ratio"] == pytest.approx(
    result["gflops"] / result["matmul_gflops"]
  )
  assert f"{result['ratio']:.0%}" in capsys.readouterr().out
  with pytest.raises(UserError, match="expected 0 < queries <= items"):
    bench_search(items=10, dim=16, queries=11)


@pytest.mark.parametrize(
  ("words", "odd"),
  [
    ("search --itmes=7 --config=no.py", "search does not take --config --itm"),
    ("search --seconds=1", "search does not take --seconds"),
    ("input --config=no.py --profile=P", "input does not take --profile"),
    ("step --config=no.py --items=7", "step does not take --items"),
  ],
)
def test_an_option_that_would_do_nothing_is_refused(words, odd, capsys):
  assert main(["bench", *words.split()]) == 2
  assert odd in capsys.readouterr().err
