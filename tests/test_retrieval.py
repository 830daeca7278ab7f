"""Same-product retrieval: worked figures, an independent tool, refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
import pytrec_eval
from exports import finish_export, write_export

import item_jax
from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.items import Items, open_export
from item_jax.evaluation.retrieval import score
from item_jax.evaluation.variants import compare_variants

# Unit vectors at these degrees; the last product has no second listing.
DEGREES = np.array([0, 12, 50, 20, 29, 90, 61, 70.5])
PRODUCTS = ["P1", "P1", "P1", "P2", "P2", "P3", "P3", "P4"]
CATEGORIES = list("AAAAABBB")


def golden_b():
  angles = np.deg2rad(DEGREES)
  vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
  return vectors, Items([f"i{n}" for n in range(8)], PRODUCTS, CATEGORIES)


def clusters(products=60, each=4, width=8, seed=0):
  """Listings scattered around their products, in no order."""
  random = np.random.default_rng(seed)
  product = random.permutation(np.repeat(np.arange(products), each))
  product[:10] = np.arange(1000, 1010)  # ten without a partner
  middle = random.standard_normal((1010, width))
  vectors = middle[product] + 0.8 * random.standard_normal(
    (len(product), width)
  )
  ids = [f"id{n}" for n in random.permutation(len(product))]
  items = Items(ids, [f"p{n}" for n in product], [f"c{n % 7}" for n in product])
  return vectors.astype(np.float32), items


def near(values, expected):
  assert values == pytest.approx(expected, abs=5e-7)


def test_worked_hits_by_query_and_by_category():
  hits = np.zeros((4, 10), bool)
  hits[0, [0, 3]] = hits[1, 1] = hits[2] = True
  values = metrics.measure(hits, np.array([2, 5, 12, 1]), (10,))
  means = metrics.mean(values)
  near(means["recall@10"], 0.508333)
  near(means["capped_recall@10"], 0.55)
  near(means["hit@10"], 0.75)
  near(means["map@10"], 0.420833)
  near(means["capped_map@10"], 0.4625)
  by = metrics.mean_by(values, list("AAAB"))
  near(by["recall@10"], 0.338889)
  near(by["capped_recall@10"], 0.366667)
  near(by["hit@10"], 0.5)
  near(by["map@10"], 0.280556)
  near(by["capped_map@10"], 0.308333)


@pytest.mark.parametrize(
  ("k", "recall", "capped", "hit", "ap"),
  [
    (
      1,
      (0.214286, 0.15, 0.222222),
      0.285714,
      0.285714,
      (0.214286, 0.15, 0.222222),
    ),
    (
      2,
      (0.571429, 0.55, 0.611111),
      0.571429,
      0.714286,
      (0.392857, 0.35, 0.416667),
    ),
    (
      3,
      (0.714286, 0.8, 0.777778),
      0.714286,
      0.857143,
      (0.440476, 0.433333, 0.472222),
    ),
  ],
)
def test_worked_vectors(k, recall, capped, hit, ap):
  summary = score(*golden_b(), k=k).summary
  for name, expected in (("recall", recall), ("map", ap)):
    near(summary[f"{name}@{k}"], expected[0])
    near(summary["by_category"][f"{name}@{k}"], expected[1])
    near(summary["by_product"][f"{name}@{k}"], expected[2])
  near(summary[f"capped_recall@{k}"], capped)
  near(summary[f"hit@{k}"], hit)
  assert (summary["queries"], summary["left_out"]) == (7, 1)
  assert summary["index"] == 8


def wrong(k, *, kept=False, left=False, lone=False):
  """Recall by three definitions one might take for the right one."""
  cosine = np.cos(np.deg2rad(DEGREES[:, None] - DEGREES))
  recalls = []
  for query, product in enumerate(PRODUCTS):
    same = {n for n, other in enumerate(PRODUCTS) if other == product}
    relevant = same if kept else same - {query}
    order = [
      n for n in np.argsort(-cosine[query]) if kept or left or n != query
    ]
    if relevant:
      recalls.append(len(relevant & set(order[:k])) / len(relevant))
    elif lone:
      recalls.append(0)
  return np.mean(recalls)


@pytest.mark.parametrize(
  ("how", "at_1_2_3"),
  [
    ("kept", (0.5, 0.604167, 0.770833)),  # the query counts as a hit
    ("left", (0, 0.214286, 0.571429)),  # the query takes up a rank
    ("lone", (0.1875, 0.5, 0.625)),  # who has no partner scores zero
  ],
)
def test_wrong_definitions_are_told_apart(how, at_1_2_3):
  summary = score(*golden_b(), k=(1, 2, 3)).summary
  for k, expected in zip((1, 2, 3), at_1_2_3, strict=True):
    near(wrong(k, **{how: True}), expected)
    near(wrong(k), summary[f"recall@{k}"])
    assert abs(summary[f"recall@{k}"] - expected) > 0.02


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_trec_eval(ties):
  vectors, items = clusters(each=14 if ties else 4)
  if ties:  # rows of +-1: products are whole numbers, hundreds alike
    vectors = np.where(vectors > 0, 1, -1).astype(np.float32)
  unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
  cosine = np.round(unit @ unit.T, 6)
  order = np.argsort(np.argsort(items.ids))  # rank of each id as text
  # That tool breaks ties by the larger name: names that sort the other way.
  names = [f"{len(order) - rank:06d}" for rank in order]
  truth, run = {}, {}
  for query, product in enumerate(items.products):
    others = [n for n in range(len(names)) if n != query]
    same = {names[n]: 1 for n in others if items.products[n] == product}
    if same:
      truth[names[query]] = same
      run[names[query]] = {names[n]: cosine[query, n] for n in others}
  asked = {"map_cut.1,5,10", "recall.1,5,10", "success.1,5,10"}
  said = pytrec_eval.RelevanceEvaluator(truth, asked).evaluate(run)
  scored = score(vectors, items, k=(1, 5, 10))
  assert len(said) == len(scored.rows_Q)
  for ours, theirs in (
    ("recall", "recall"),
    ("map", "map_cut"),
    ("hit", "success"),
  ):
    for k in (1, 5, 10):
      expected = [said[names[row]][f"{theirs}_{k}"] for row in scored.rows_Q]
      np.testing.assert_allclose(
        scored.values[f"{ours}@{k}"], expected, rtol=0, atol=1e-9
      )


def test_permuted_and_scaled_rows_score_the_same():
  vectors, items = clusters()
  order = np.random.default_rng(1).permutation(len(vectors))
  permuted = Items(*([part[n] for n in order] for part in items[:3]))
  one = score(vectors, items, bootstrap=20).summary
  two = score(3 * vectors[order], permuted, bootstrap=20).summary
  one.pop("interval"), two.pop("interval")
  for part in ("by_category", "by_product"):
    near(one.pop(part), two.pop(part))
  near(one, two)


def test_shifting_all_scores_changes_nothing():
  """One more value, the same in all unit rows: every cosine is (c + 1) / 2."""
  vectors, items = clusters()
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  shifted = np.concatenate([unit, np.ones((len(unit), 1))], axis=1)
  one, two = score(vectors, items), score(shifted, items)
  np.testing.assert_array_equal(one.nearest_QK, two.nearest_QK)


def test_roles_separate_queries_from_the_index():
  vectors, items = golden_b()
  roles = ["query", "index", "both", "query", "index", "both", "both", "index"]
  scored = score(vectors, items._replace(roles=roles), k=(1, 2))
  # Queries 0, 2, 3, 5, 6; the index holds 1, 2, 4, 5, 6, 7.
  assert scored.rows_Q.tolist() == [0, 2, 3, 5, 6]
  assert scored.relevant_Q.tolist() == [2, 1, 1, 1, 1]
  assert scored.nearest_QK[:, :2].tolist() == [
    [1, 4],
    [6, 7],
    [1, 4],
    [7, 6],
    [7, 2],
  ]
  near(scored.summary["recall@2"], (0.5 + 0 + 1 + 1 + 0) / 5)
  assert scored.summary["index"] == 6


def test_rows_of_no_product_match_nothing():
  vectors, items = golden_b()
  products = ["P1", "P1", "", "P2", "P2", "", "", ""]
  scored = score(vectors, items._replace(products=products), k=(3,))
  assert scored.rows_Q.tolist() == [0, 1, 3, 4]
  assert scored.summary["left_out"] == 4


def test_an_index_smaller_than_the_list_adds_no_hits():
  items = Items(["x", "y", "z"], ["a", "b", "a"])
  # As many results as asked for would be 48 TB.
  scored = score(np.eye(3, dtype=np.float32) + 1, items, k=(1, 10, 10**12))
  assert scored.summary["recall@10"] == 1
  assert scored.summary["recall@1000000000000"] == 1
  near(scored.values["map@10"], [0.5, 1])


def test_more_relevant_items_than_ranks():
  vectors = np.eye(8, dtype=np.float32) + 1
  items = Items([str(n) for n in range(8)], ["a"] * 6 + ["b"] * 2)
  summary = score(vectors, items, k=(1, 3)).summary
  assert summary["share_over_k"] == 6 / 8
  assert summary["by_category"] is None
  assert summary["capped_recall@3"] > summary["recall@3"]


def test_interval_is_that_of_drawing_products_by_hand():
  vectors, items = clusters()
  scored = score(vectors, items, bootstrap=4000, seed=1)
  value, product = scored.values["recall@10"], np.array(items.products)
  by = {}
  for row, one in zip(scored.rows_Q, value, strict=True):
    by.setdefault(product[row], []).append(one)
  groups, random = list(by.values()), np.random.default_rng(2)
  means = []
  for _ in range(4000):
    drawn = random.choice(len(groups), len(groups))
    means.append(np.mean([one for n in drawn for one in groups[n]]))
  low, high = scored.summary["interval"]["recall@10"]
  assert low < value.mean() < high
  width = high - low
  assert low == pytest.approx(np.quantile(means, 0.025), abs=0.08 * width)
  assert high == pytest.approx(np.quantile(means, 0.975), abs=0.08 * width)


def test_interval_draws_products_not_queries():
  """Copies of a query tell nothing new, so they must not narrow it."""
  values = {"x": np.repeat([0.0, 1.0] * 20, 50)}
  products = np.repeat(np.arange(40), 50).astype(str)
  low, high = metrics.intervals(values, products)["x"]
  assert 0.25 < high - low < 0.4  # 2 * 1.96 * sqrt(0.25 / 40) = 0.31


def test_two_systems_compared_from_either_side():
  random = np.random.default_rng(0)
  products = np.repeat(np.arange(100), 3).astype(str)
  left = {"x": random.random(300), "same": random.random(300)}
  right = {
    "x": left["x"] - 0.1 + 0.1 * random.random(300),
    "same": left["same"],
  }
  one = metrics.compare(left, right, products, seed=3)
  two = metrics.compare(right, left, products, seed=3)
  assert one["x"]["difference"] == pytest.approx(-two["x"]["difference"])
  low, high = one["x"]["interval"]
  assert [-high, -low] == pytest.approx(two["x"]["interval"])
  assert one["x"]["p"] == two["x"]["p"] == 2 / 1001
  assert low > 0
  # Pairing: the difference is far surer than either mean.
  alone = metrics.intervals(left, products)["x"]
  assert high - low < (alone[1] - alone[0]) / 3
  assert one["same"] == {"difference": 0, "interval": [0, 0], "p": 1}


def evaluate(embeddings, items, *words) -> int:
  """Runs the command."""
  return main(
    ["evaluate", f"--embeddings={embeddings}", f"--items={items}", *words]
  )


def evaluate_files(embeddings, items, **options) -> dict:
  return score(embeddings, items, **options).summary


def evaluate_export(folder) -> dict:
  return score(open_export(folder)).summary


def write(folder, vectors, items, header=("id", "product", "category")):
  np.save(folder / "x.npy", vectors)
  columns = [part for part in items if part is not None]
  with open(folder / "items.csv", "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows([header, *zip(*columns, strict=True)])
  return folder / "x.npy", folder / "items.csv"


def test_files_in_table_json_and_queries_out(tmp_path, capsys):
  vectors, items = golden_b()
  paths = write(
    tmp_path, vectors, items, ("listing_id", "product_id", "category")
  )
  written = (
    f"--json={tmp_path / 'out.json'}",
    f"--per_query={tmp_path / 'queries.csv'}",
  )
  assert evaluate(*paths, "--k=1,3", *written) == 0
  summary = json.loads((tmp_path / "out.json").read_text())
  assert summary == evaluate_files(*paths, k=(1, 3))
  means = [f"{name}@{k}" for k in (1, 3) for name in metrics.MEASURES]
  assert list(summary) == [
    *("queries", "left_out", "index", "share_over_k"),
    *means,
    *("by_category", "by_product", "interval"),
  ]
  for part in ("by_category", "by_product", "interval"):
    assert list(summary[part]) == means
  printed = capsys.readouterr().out
  assert "7 queries, 1 left out" in printed
  assert "index 8" in printed
  for name in means:
    line = next(x for x in printed.splitlines() if x.startswith(name + " "))
    assert f"{summary[name]:.4f}" in line
  with open(tmp_path / "queries.csv", encoding="utf-8") as file:
    lines = list(csv.DictReader(file))
  assert len(lines) == 7
  assert lines[0] | {"id": "i0", "product": "P1", "relevant": "2"} == lines[0]
  top = [lines[0][f"top_{n}"] for n in range(1, 11)]
  assert top == ["i1", "i3", "i4", "i2", "i6", "i7", "i5", "", "", ""]
  for name in means:
    near(np.mean([float(line[name]) for line in lines]), summary[name])


def test_same_call_same_figures(tmp_path):
  paths = write(tmp_path, *clusters())
  assert evaluate_files(*paths) == evaluate_files(*paths)
  assert (
    evaluate_files(*paths)["interval"]
    != evaluate_files(*paths, seed=1)["interval"]
  )


@pytest.mark.parametrize(
  "form",
  [
    np.asfortranarray,
    lambda x: x.astype(">f4"),
    lambda x: x.astype("<f8"),
    lambda x: np.asfortranarray(x.astype(">f8")),
    lambda x: x * np.float32(4),
  ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_form_of_npy_scores_alike(form, version, tmp_path):
  vectors, items = clusters()
  paths = write(tmp_path, vectors, items)
  expected = evaluate_files(*paths, bootstrap=1)
  with open(paths[0], "wb") as file:
    np.lib.format.write_array(file, form(vectors), version=version)
  assert evaluate_files(*paths, bootstrap=1) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precision_is_named(dtype, tmp_path, capsys):
  vectors, items = golden_b()
  assert evaluate(*write(tmp_path, vectors.astype(dtype), items)) == 0
  assert "computed in float32" in capsys.readouterr().out


def broken(vectors, row, value):
  vectors = vectors.copy()
  vectors[row, 1] = value
  return vectors


@pytest.mark.parametrize(
  ("change", "says"),
  [
    (lambda x: broken(x, 3, np.nan), "row 3 (id 'i3') has a NaN"),
    (lambda x: broken(x, 3, np.inf), "row 3 (id 'i3') is infinite"),
    (lambda x: x * (np.arange(8) != 4)[:, None], "row 4 (id 'i4') is all zero"),
    (lambda x: x[:7], "has 7 rows, but there are 8 items"),
    (lambda x: x[:, 0], "shape (8,)"),
    (lambda x: x[:, :0], "shape (8, 0)"),
    (lambda x: x[None], "shape (1, 8, 2)"),
    (lambda x: (x * 9).astype(np.int32), "holds int32"),
    (lambda x: x.astype(np.complex64), "holds complex64"),
    (lambda x: x.astype(np.longdouble), "expected float32"),
    (lambda x: x.astype(object), "is not a plain .npy array"),
  ],
)
def test_unusable_embeddings_are_refused(change, says, tmp_path):
  vectors, items = golden_b()
  paths = write(tmp_path, change(vectors), items)
  with pytest.raises(UserError) as error:
    evaluate_files(*paths)
  assert says in str(error.value)


@pytest.mark.parametrize(
  ("content", "begins"),
  [
    (b"", "it begins with b''"),
    (b"id,product\n", "it begins with b'id,pro'"),
    (b"\x93NUMPY\x01", ""),
    (b"\x80\x04K\x01.", ""),
  ],
)
def test_what_is_no_npy_is_refused(content, begins, tmp_path):
  _, items = write(tmp_path, *golden_b())
  (tmp_path / "bad.npy").write_bytes(content)
  says = rf"bad\.npy is not a plain \.npy array: {begins}"
  with pytest.raises(UserError, match=says):
    evaluate_files(tmp_path / "bad.npy", items)


def test_a_cut_file_and_an_archive_are_refused(tmp_path):
  vectors, items = write(tmp_path, *golden_b())
  (tmp_path / "cut.npy").write_bytes(vectors.read_bytes()[:-8])
  with pytest.raises(UserError, match=r"cut\.npy"):
    evaluate_files(tmp_path / "cut.npy", items)
  np.savez(tmp_path / "x.npz", golden_b()[0])
  with pytest.raises(UserError, match="archive"):
    evaluate_files(tmp_path / "x.npz", items)
  with pytest.raises(FileNotFoundError):
    evaluate_files(tmp_path / "none.npy", items)


@pytest.mark.parametrize(
  ("text", "says"),
  [
    ("", "is empty, expected a header"),
    ("id,product\n", "no rows"),
    ("id,name\na,b\n", "expected one column product or product_id"),
    ("id,listing_id,product\na,a,b\n", "expected one column id or"),
    ("id,id,product\na,a,b\n", "expected one column id or"),
    ("id,product\na,p\nb,p\na,q\n", "duplicate id 'a' in rows 0 and 2"),
    ("id,product\na,p\n,p\n", "row 1 has an empty id"),
    ("id,product\na,p\nb\n", "row 1: wrong number of fields: 1, the header"),
    ("id,product\na,p,q\n", "row 0: wrong number of fields: 3"),
    ('id,product\na,"p,x\n', "row 0: not readable as CSV"),
    ("id,product\na,nan\nnan,p\n", "row 1 has an empty id"),
    ("id,product\na,1e+16\n", "row 0: product holds 1e+16"),
    ("id,product,role\na,p,both\nb,p,seek\n", "row 1 (id 'b') has role 'seek'"),
    ("id,product,role\na,p,query\nb,p,query\n", "no row has the role 'index'"),
    ("id,product\na,p\nb,q\n", "there is nothing to score"),
  ],
)
def test_unusable_items_are_refused(text, says, tmp_path):
  (tmp_path / "items.csv").write_text(text, "utf-8")
  rows = max(1, len(text.splitlines()) - 1)
  np.save(tmp_path / "x.npy", np.ones((rows, 2), np.float32))
  with pytest.raises(UserError) as error:
    evaluate_files(tmp_path / "x.npy", tmp_path / "items.csv")
  assert says in str(error.value)


def test_items_in_another_encoding_are_refused(tmp_path):
  embeddings, items = write(tmp_path, *golden_b())
  items.write_bytes(items.read_bytes().replace(b"P1", b"\xe9"))
  with pytest.raises(UserError, match="UTF-8"):
    evaluate_files(embeddings, items)


def export(folder, vectors, items):
  folder.mkdir()
  embeddings, _ = write(folder, vectors, items)
  embeddings.rename(folder / "embeddings.npy")
  return finish_export(folder)


def test_a_finished_export_scores_like_its_files(tmp_path):
  folder = export(tmp_path / "e", *golden_b())
  files = (folder / "embeddings.npy", folder / "items.csv")
  assert evaluate_export(folder) == evaluate_files(*files)


def test_an_unfinished_export_is_refused(tmp_path):
  folder = export(tmp_path / "e", *golden_b())
  (folder / "meta.json").unlink()
  with pytest.raises(UserError, match="unfinished"):
    evaluate_export(folder)
  with pytest.raises(FileNotFoundError):
    evaluate_export(tmp_path / "none")


@pytest.mark.parametrize(
  ("file", "told"),
  [("run.json", "--workdir={} --data=DATA"), ("catalogue.json", "--data={} ")],
)
def test_what_exports_are_made_of_is_told_how(file, told, tmp_path):
  (tmp_path / file).write_text("{}")
  with pytest.raises(UserError, match="has no vectors") as raised:
    evaluate_export(tmp_path)
  assert told.format(tmp_path) in str(raised.value)


def test_an_export_changed_afterwards_is_refused(tmp_path):
  folder = export(tmp_path / "e", *golden_b())
  data = bytearray((folder / "embeddings.npy").read_bytes())
  data[-1] ^= 1
  (folder / "embeddings.npy").write_bytes(data)
  with pytest.raises(UserError, match=r"embeddings\.npy was altered"):
    evaluate_export(folder)
  (folder / "meta.json").write_text("{}")
  with pytest.raises(UserError, match=r"meta\.json has no checksum"):
    evaluate_export(folder)


def test_a_depth_may_be_numpys():
  plain = score(*golden_b(), k=3).summary
  assert score(*golden_b(), k=np.int64(3)).summary == plain
  assert score(*golden_b(), k=np.array([3])).summary == plain


def test_two_results_are_not_written_to_one_file(tmp_path, capsys):
  paths = write(tmp_path, *golden_b())
  one = tmp_path / "out"
  given = (f"--json={one}", f"--per_query={tmp_path}/./out")
  assert evaluate(*paths, *given) == 2
  assert f"{one} is to hold two results" in capsys.readouterr().err
  assert not one.exists()


@pytest.mark.parametrize("flag", ["json", "per_query"])
def test_a_result_takes_no_files_place_that_is_read(tmp_path, capsys, flag):
  vectors_ND, items = golden_b()
  export = write_export(
    tmp_path / "e", vectors_ND, [{"product": p} for p in items.products]
  )
  vectors, table = export / "embeddings.npy", export / "items.csv"
  before = {path: path.read_bytes() for path in export.iterdir()}
  (tmp_path / "link").symlink_to(export)
  for written, *read in (
    ("items.csv", export),
    ("meta.json", export),
    ("items.csv", f"{vectors}:{table}"),
    ("items.csv", f"--embeddings={vectors}", f"--items={table}"),
    ("embeddings.npy", f"--embeddings={vectors}", f"--items={table}"),
  ):
    words = ["evaluate", *map(str, read)]
    assert main([*words, f"--{flag}={tmp_path}/link/{written}"]) == 2
    assert f"{written} is read by this command" in capsys.readouterr().err
  assert {path: path.read_bytes() for path in export.iterdir()} == before
  for _ in range(2):  # what an earlier call wrote may be replaced
    assert main(["evaluate", str(export), f"--{flag}={export}/out"]) == 0


def test_a_depth_beyond_all_numbers_is_the_whole_index():
  """Larger than numpy's largest integer, too."""
  rows = len(golden_b()[1].ids)
  found = score(*golden_b(), k=(rows, 10**30)).summary
  for measure in ("recall", "map", "capped_recall", "capped_map", "hit"):
    assert found[f"{measure}@{10**30}"] == found[f"{measure}@{rows}"]


@pytest.mark.parametrize(
  "ks", [(), (0,), (-1, 5), 2.5, (1.5,), "10", None], ids=repr
)
def test_impossible_depths_are_refused(ks):
  with pytest.raises(UserError, match="expected whole numbers from 1"):
    score(*golden_b(), k=ks)


@pytest.mark.parametrize("name", ["seed", "bootstrap"])
@pytest.mark.parametrize("value", [-1, 2.5, "0", None], ids=repr)
def test_what_cannot_be_drawn_is_refused_before_the_work(name, value):
  draws, said = {name: value}, f"^{name}={value!r}: expected a whole number"
  nowhere = "/nowhere/at/all"  # it is not looked at
  for call in (
    lambda: score(nowhere, **draws),
    lambda: item_jax.report(nowhere, "test", {}, **draws),
    lambda: item_jax.probe(nowhere, None, nowhere, **draws),
    lambda: item_jax.modality(nowhere, **draws),
    lambda: item_jax.robustness(nowhere, **draws),
    lambda: item_jax.cross_domain([nowhere], [nowhere], **draws),
    lambda: compare_variants({"a": nowhere}, Path(nowhere), **draws),
    lambda: score(*golden_b()).compare(score(*golden_b()), **draws),
  ):
    with pytest.raises(UserError, match=said):
      call()


def test_a_seed_that_is_none_is_said_in_a_line(tmp_path, capsys):
  assert evaluate(*write(tmp_path, *golden_b()), "--seed=-1") == 2
  assert "error: seed=-1: expected a whole number from 0" in (
    capsys.readouterr().err
  )


def test_what_cannot_be_written_is_refused_before_the_search(tmp_path, capsys):
  embeddings, items = write(tmp_path, *golden_b())
  embeddings.unlink()  # it is not looked at
  assert evaluate(embeddings, items, f"--json={tmp_path / 'none' / 'x'}") == 2
  assert "there is no folder" in capsys.readouterr().err
  for count in ("0", "-3", "some"):
    with pytest.raises(SystemExit, match="2"):
      evaluate(embeddings, items, f"--bootstrap={count}")
    assert f"{count} resamples; expected 1" in capsys.readouterr().err


def test_an_interval_is_numpys_to_the_bit():
  random = np.random.default_rng(0)
  for size in (1, 2, 3, 20, 41, 100, 1000):
    drawn = random.standard_normal(size) ** 3
    expected = np.quantile(drawn, [0.025, 0.975]).tolist()
    assert metrics.interval(drawn) == expected


@pytest.mark.parametrize(
  "form",
  [
    lambda table: table,
    pandas.DataFrame,
    lambda table: pandas.DataFrame(table).to_dict("records"),
    lambda table: iter(pandas.DataFrame(table).to_dict("records")),
    lambda table: pyarrow.table(table),
    lambda table: pandas.DataFrame(table).astype({"product": "category"}),
  ],
)
def test_a_table_in_memory_scores_like_its_file(form, tmp_path):
  vectors, items = clusters()
  paths = write(tmp_path, vectors, items)
  names = ("id", "product", "category")
  table = form(dict(zip(names, items, strict=False)))
  assert score(vectors, table).summary == evaluate_files(*paths)


def test_results_are_fields_text_html_and_a_frame():
  scores = score(*golden_b(), k=(1, 3))
  frame = scores.to_frame()
  assert len(frame) == 2 * len(metrics.MEASURES)
  row = frame[(frame["measure"] == "recall") & (frame["k"] == 3)].iloc[0]
  assert row["by_query"] == scores.summary["recall@3"] == scores["recall@3"]
  assert [row["low"], row["high"]] == scores.summary["interval"]["recall@3"]
  html = scores._repr_html_()
  assert html.startswith("<table><tr><th>measure</th>")
  assert html.count("<tr>") == len(frame) + 1
  assert f"{scores['recall@3']:.4f}" in html
  assert f"{scores['recall@3']:.4f}" in str(scores)
  without = score(*golden_b(), k=3, bootstrap=0)
  assert without.to_frame()["low"].isna().all()
  assert "recall@3" in str(without)


def test_columns_of_different_lengths_are_refused():
  vectors, items = golden_b()
  table = {"id": items.ids, "product": items.products[:-1]}
  with pytest.raises(UserError, match="different lengths"):
    score(vectors, table)
  with pytest.raises(UserError, match="without items"):
    score(vectors)
