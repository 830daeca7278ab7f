"""Vectors that are not ours: all doors open alike, and sparse is as dense."""

import csv
import json
import logging

import numpy as np
import pytest
import scipy.sparse
from exports import write_export

import item_jax
from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation import baselines, fusion, fusion_tuning, mixed
from item_jax.evaluation.items import Items, find_export_damage, open_export
from item_jax.evaluation.join import join
from item_jax.evaluation.probe import probe
from item_jax.evaluation.report import report
from item_jax.evaluation.search import search
from item_jax.evaluation.sources import Source, open_source
from item_jax.evaluation.transform import Recipe, fit
from item_jax.evaluation.variants import compare_variants
from item_jax.evaluation.vectors import Mixed, make_sparse
from item_jax.inference import device_search

COUNT, PRODUCTS = 60, 20


def vectors(seed, width, *, count=COUNT, noise=1.0):
  """Of product and noise; the same products whatever the seed."""
  about_PD = np.random.default_rng(width).standard_normal((PRODUCTS, width))
  noise_ND = np.random.default_rng(seed).standard_normal((count, width))
  about_ND = about_PD[np.arange(count) % PRODUCTS]
  return (about_ND + noise * noise_ND).astype(np.float32)


def counts(seed, words=40, *, count=COUNT):
  """Sparse rows of unit length, a third of them of words of their product."""
  random = np.random.default_rng(seed)
  held_NV = random.random((count, words)) < 0.1
  held_NV[np.arange(count), np.arange(count) % PRODUCTS] = True
  value_NV = held_NV * random.uniform(0.5, 2, held_NV.shape)
  length_N1 = np.linalg.norm(value_NV, axis=1, keepdims=True)
  return scipy.sparse.csr_array(value_NV / length_N1)


def products(count=COUNT):
  return [f"p{row % PRODUCTS}" for row in range(count)]


def listed(name="i", count=COUNT):
  ids = [f"{name}{row:02}" for row in range(count)]
  return Items(ids, products(count), [f"c{row % 5}" for row in range(count)])


def unit(rows_ND):
  length_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
  return rows_ND / np.where(length_N1 > 0, length_N1, 1)


def cosines(found):
  if isinstance(found, Mixed):
    found = np.hstack([found.dense_ND, found.sparse_NV.toarray()])
  return found @ found.T


@pytest.fixture
def run(capsys):
  """What a command prints."""

  def run(*words, code=0):
    assert main([*map(str, words)]) == code
    return "".join(capsys.readouterr())

  return run


def write_foreign(folder, vectors_ND, items):
  """An .npy and a CSV with a column more, as other projects have them."""
  folder.mkdir(exist_ok=True)
  np.save(folder / "x.npy", vectors_ND)
  with (folder / "x.csv").open("w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(["price", "listing_id", "product", "category"])
    lines.writerows(zip(range(99), *items[:3], strict=False))
  return f"{folder}/x.npy:{folder}/x.csv"


@pytest.fixture
def copied(tmp_path):
  """Exports of three splits, and the same as files of another project."""
  exports, foreign = {}, {}
  for seed, split in enumerate(("train", "val", "test")):
    items = listed(split)
    rows = [
      dict(zip(("id", "product", "category"), row, strict=True))
      for row in zip(*items[:3], strict=True)
    ]
    made_ND = unit(vectors(seed, 8)).astype(np.float32)
    exports[split] = write_export(tmp_path / split, made_ND, rows)
    foreign[split] = write_foreign(tmp_path / f"f_{split}", made_ND, items)
  return exports, foreign


def test_a_foreign_file_scores_as_the_export_it_was_copied_from(
  copied, tmp_path, run
):
  exports, foreign = copied
  file, _, table = foreign["test"].partition(".npy:")
  scored = item_jax.score(exports["test"]).to_dict()
  assert 0.1 < scored["recall@10"] < 0.9
  pair = (np.load(f"{file}.npy"), table)
  for door in (foreign["test"], pair, open_source(pair)):
    assert item_jax.score(door).to_dict() == scored
  for name, words in (
    ("ours", [exports["test"]]),
    ("theirs", [foreign["test"]]),
    ("apart", [f"--embeddings={file}.npy", f"--items={table}"]),
  ):
    run("evaluate", *words, f"--json={tmp_path / name}")
    assert json.loads((tmp_path / name).read_text()) == scored
  probes = [
    probe(*(door[split] for split in ("train", "val", "test")), bootstrap=9)
    for door in copied
  ]
  assert probes[0].to_dict() == probes[1].to_dict()
  pairs = tmp_path / "pairs.csv"
  pairs.write_text("product,variant\np0,p1\np2,p3\n")
  both = {"ours": exports["test"], "theirs": foreign["test"]}
  share = compare_variants(both, pairs)["all"]["share"]
  assert share["ours"] == share["theirs"] != 0.5


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310])
def test_a_sparse_row_is_searched_by_its_direction(scale):
  """Squares of its values may be beyond float64."""
  sparse_NV = counts(0) > 0  # of ones and zeros: no digits are lost below
  names = [f"i{row}" for row in range(COUNT)]
  same = item_jax.search(sparse_NV.astype(float), names, k=COUNT)
  found = item_jax.search(sparse_NV.astype(float) * scale, names, k=COUNT)
  assert np.array_equal(found.rows_QK, same.rows_QK)
  assert np.array_equal(found.scores_QK, same.scores_QK)


def test_a_place_that_is_given_twice_is_the_sum():
  """A sparse matrix may hold several values for one of its places."""
  halves = scipy.sparse.csr_array(
    (np.array([2, 1, 1, 1, 1.0]), [0, 0, 1, 0, 1], [0, 3, 4, 5])
  )
  found = item_jax.search(halves, list("abc"), k=2)
  same = item_jax.search(halves.toarray(), list("abc"), k=2)
  np.testing.assert_array_equal(found.rows_QK, same.rows_QK)
  np.testing.assert_allclose(found.scores_QK, same.scores_QK, atol=1e-6)
  assert halves.nnz == 5  # the caller's own is as it was


def test_sparse_rows_are_probed_beside_categories_as_beside_items():
  items = [(counts(seed), listed(name)) for seed, name in enumerate("abc")]
  pairs = [(made, list(of.categories or ())) for made, of in items]
  found, same = (probe(*parts, bootstrap=0) for parts in (pairs, items))
  assert found.to_dict() == same.to_dict()


def test_sparse_parts_fuse_as_the_same_matrix_made_dense():
  dense_ND, sparse_NV = vectors(0, 7), counts(0)
  dense_ND[3] = 0
  sparse_NV = scipy.sparse.csr_array(
    sparse_NV.multiply((np.arange(COUNT) != 5)[:, None])
  )
  fused = join([dense_ND, make_sparse(sparse_NV)], (0.3, 0.7))
  same_NF = join([dense_ND, sparse_NV.toarray()], (0.3, 0.7))
  assert isinstance(fused, Mixed)
  np.testing.assert_allclose(cosines(fused), cosines(same_NF), atol=1e-6)
  ids = listed().ids
  mixed_found, dense_found = search(fused, ids, k=5), search(same_NF, ids, k=5)
  np.testing.assert_array_equal(mixed_found.rows_QK, dense_found.rows_QK)
  np.testing.assert_allclose(
    mixed_found.scores_QK, dense_found.scores_QK, atol=1e-6
  )


@pytest.mark.parametrize("tile", [3, 16, 4096])
def test_a_search_of_both_kinds_does_not_depend_on_tiles(tile, monkeypatch):
  """Equal rows tie to the last bit, and the smaller id is nearer."""
  dense_ND, sparse_NV = vectors(0, 7), counts(0).tolil()
  for row in range(10, 20):
    dense_ND[row], sparse_NV[[row]] = dense_ND[9], sparse_NV[[9]]
  fused = join([dense_ND, make_sparse(sparse_NV.tocsr())], (0.5, 0.5))
  ids = [f"{row * 37 % COUNT:02}" for row in range(COUNT)]
  options = {"k": 6, "index": np.arange(5, COUNT), "queries": np.arange(40)}
  whole = search(fused, ids, **options)
  found = search(fused, ids, tile=tile, **options)
  np.testing.assert_array_equal(found.rows_QK, whole.rows_QK)
  np.testing.assert_array_equal(found.scores_QK, whole.scores_QK)
  monkeypatch.setattr(mixed, "_CACHED_VALUES", 0)
  again = search(fused, ids, tile=tile, **options)
  np.testing.assert_array_equal(again.scores_QK, whole.scores_QK)
  nearest = sorted(range(10, 20), key=ids.__getitem__)
  assert whole.rows_QK[9].tolist() == nearest[:6]
  assert len(set(whole.scores_QK[9])) == 1


def test_three_parts_by_hand_and_in_any_order():
  """Where one lacks a part, the others count fully."""
  parts = [vectors(0, 5), make_sparse(counts(1)), vectors(2, 9)]
  parts[0][4] = 0
  weights = (0.2, 0.5, 0.3)
  fused = join(parts, weights)
  each = [cosines(unit(parts[0])), cosines(parts[1]), cosines(unit(parts[2]))]
  expected = sum(w * c for w, c in zip(weights, each, strict=True))
  expected[4] /= np.sqrt(0.8)
  expected[:, 4] /= np.sqrt(0.8)
  np.testing.assert_allclose(cosines(fused), expected, atol=1e-6)
  turned = join(parts[::-1], weights[::-1])
  np.testing.assert_allclose(cosines(turned), expected, atol=1e-6)
  (_, first), *_, last = sorted(
    (score, weights)
    for weights, score in fusion_tuning.try_weights(parts, listed()).items()
  )
  backwards = fusion_tuning.try_weights(parts[::-1], listed())
  assert len(backwards) == 66
  assert backwards[last[1][::-1]] == pytest.approx(last[0], abs=1e-9)
  assert backwards[first[::-1]] == min(backwards.values())


@pytest.mark.parametrize("without", [0, 1, 2])
def test_a_weight_of_zero_removes_a_part(without, tmp_path):
  parts = [vectors(0, 5), make_sparse(counts(1)), vectors(2, 9)]
  weights = [0.6, 0.6, 0.6]
  weights[without] = 0
  doors = [(one, listed()) for one in parts]
  out = tmp_path / "f"
  found = fusion.fuse(*doors, weights=weights, out=out)
  assert "share" not in open_export(out).meta  # it is of two parts
  assert fusion.fuse(*doors, like=out).weights == found.weights
  fusion.fuse(*doors, weights=weights, out=out, overwrite=True)
  del doors[without]
  fewer = fusion.fuse(*doors, weights=(1, 1))
  np.testing.assert_allclose(
    cosines(found.vectors), cosines(fewer.vectors), atol=1e-6
  )
  assert isinstance(found.vectors, Mixed) == (without != 1)
  assert found.weights == pytest.approx([w / 1.2 for w in weights])


def test_rows_without_anything_are_found_last():
  dense_ND, sparse_NV = np.abs(vectors(0, 5)), counts(0).toarray()
  dense_ND[[1, 2]], sparse_NV[[1, 2]] = 0, 0
  sparse = make_sparse(scipy.sparse.csr_array(sparse_NV))
  ids = listed().ids
  for parts in ([dense_ND, sparse], [sparse, sparse]):
    fused = join(parts, (0.5, 0.5))
    found = search(fused, ids, k=COUNT - 1)
    assert found.rows_QK[1, 0] == 2
    assert set(found.rows_QK[7, -2:]) == {1, 2} or parts[0] is sparse
  assert found.scores_QK[7, -1] == 0  # and no nearer than others are


def test_weights_and_transforms_are_chosen_on_validation(tmp_path, caplog):
  """What all images share, and one direction in which they differ for nothing,
  hide what they are of."""
  caplog.set_level(logging.INFO)
  doors, titles = {}, {}
  for seed, split in enumerate(("train", "val", "test")):
    made_ND = vectors(seed, 8, noise=0.5) + 20 * np.eye(8)[0]
    made_ND[:, 1] += 20 * np.random.default_rng(seed).standard_normal(COUNT)
    doors[split] = made_ND.astype(np.float32), listed(split)
    titles[split] = make_sparse(counts(seed)), listed(split)
  found = fusion.fuse(
    doors["test"],
    titles["test"],
    tune_on=(doors["val"], titles["val"]),
    fit_on=(doors["train"], titles["train"]),
    out=tmp_path / "test",
  )
  made, none = found.transforms
  assert (made.kind, none.kind) == ("whitened", "none")
  assert str(made) in caplog.text
  plain = fusion.fuse(
    doors["test"], titles["test"], tune_on=(doors["val"], titles["val"])
  )
  assert found.tried[0.0, 1.0] == plain.tried[0.0, 1.0]
  assert found.tried[1.0, 0.0] > plain.tried[1.0, 0.0] + 0.1
  assert found.tried[found.weights] == max(found.tried.values())
  centred = fit(doors["train"][0], Recipe("centred"))
  np.testing.assert_array_equal(made.mean_D, centred.mean_D)
  # Another split by the same choice, and what it is by hand.
  other = fusion.fuse(
    doors["val"], titles["val"], like=tmp_path / "test", out=tmp_path / "val"
  )
  expected = join(
    [made.apply(doors["val"][0]), titles["val"][0]], found.weights
  )
  np.testing.assert_array_equal(other.vectors.dense_ND, expected.dense_ND)
  systems = [
    open_export(tmp_path / s).meta["checkpoint"] for s in ("test", "val")
  ]
  assert systems[0] == systems[1]
  assert item_jax.score(found, bootstrap=0).to_dict() == (
    item_jax.score(tmp_path / "test", bootstrap=0).to_dict()
  )


def test_a_fusion_s_folder_holds_both_kinds(tmp_path):
  doors = (vectors(0, 5), listed()), (make_sparse(counts(0)), listed())
  found = fusion.fuse(*doors, weights=(1, 3), out=tmp_path / "f")
  opened = open_export(tmp_path / "f")
  np.testing.assert_array_equal(opened.vectors.dense_ND, found.vectors.dense_ND)
  assert (opened.vectors.sparse_NV != found.vectors.sparse_NV).nnz == 0
  assert opened.vectors.words == [f"2 {column}" for column in range(40)]
  assert opened.items == listed()
  scored = item_jax.score(opened, bootstrap=9).to_dict()
  assert item_jax.score(found, bootstrap=9).to_dict() == scored
  held = np.hstack([found.vectors.dense_ND, found.vectors.sparse_NV.toarray()])
  assert item_jax.score(held, listed(), bootstrap=9).to_dict() == scored
  pairs = tmp_path / "pairs.csv"
  pairs.write_text("product,variant\np0,p1\np2,p3\n")
  both = {"mixed": opened, "dense": (held, listed())}
  share = compare_variants(both, pairs)["all"]["share"]
  assert share["mixed"] == pytest.approx(share["dense"]) != 0.5
  # A fusion is a part as any other.
  twice = fusion.fuse(tmp_path / "f", (vectors(1, 6), listed()))
  expected = (cosines(found.vectors) + cosines(unit(vectors(1, 6)))) / 2
  np.testing.assert_allclose(cosines(twice.vectors), expected, atol=1e-6)
  assert list(find_export_damage(tmp_path / "f")) == []
  with (tmp_path / "f" / "sparse.npz").open("ab") as file:
    file.write(b"x")
  assert "sparse.npz was altered" in "".join(find_export_damage(tmp_path / "f"))


def test_a_part_that_a_catalogue_lacks_altogether_changes_nothing(tmp_path):
  """Neither images nor words: it can still be fused, written and read."""
  doors, alone = {}, {}
  for seed, split in enumerate(("train", "val", "test")):
    items = listed(split)
    alone[split] = (vectors(seed, 8), items)
    words = baselines.tfidf_vectors([""] * COUNT)
    images = baselines.colours([None] * COUNT)
    has_N = np.zeros(COUNT, bool)
    thumbnail = Source("thumbnail", images, items, {}, None, has_N)
    doors[split] = (alone[split], (words, items), thumbnail)
  fused = fusion.fuse(
    *doors["test"],
    tune_on=doors["val"],
    fit_on=doors["train"],
    out=tmp_path / "f",
  )
  np.testing.assert_allclose(
    cosines(fused.vectors),
    cosines(fused.transforms[0].apply(alone["test"][0])),
    atol=1e-6,
  )
  assert open_export(tmp_path / "f").vectors.words == []
  fusion.fuse(*doors["val"], like=tmp_path / "f")


def test_reducing_keeps_products_and_matches_words():
  """Fewer words than directions: nothing is lost, in whatever order they are;
  words that training lacks are."""
  train = make_sparse(counts(0), [f"w{n}" for n in range(40)])
  turn = np.random.default_rng(0).permutation(40)
  test_NV = counts(1)
  test = make_sparse(
    test_NV[:, turn], [f"w{n}" if n else "other" for n in turn]
  )
  reduced_ND, other_ND = mixed.reduce(train, test)
  known_NV = test_NV.toarray()
  known_NV[:, 0] = 0
  np.testing.assert_allclose(
    other_ND @ reduced_ND.T, known_NV @ train.sparse_NV.T, atol=1e-5
  )


def test_a_probe_of_both_kinds_is_one_of_the_same_matrix():
  doors, dense = [], []
  for seed, split in enumerate(("train", "val", "test")):
    fused = join([vectors(seed, 5), make_sparse(counts(seed))], (0.5, 0.5))
    doors.append((fused, listed(split)))
    held = np.hstack([fused.dense_ND, fused.sparse_NV.toarray()])
    dense.append((held, listed(split)))
  found, same = probe(*doors, bootstrap=0), probe(*dense, bootstrap=0)
  assert found["knn"] == same["knn"]
  assert found["logistic"]["accuracy"] == same["logistic"]["accuracy"] > 0.5


def test_baselines_are_sources(tiny_data, tmp_path, run):
  export = tmp_path / "e"
  source = open_source("thumbnail", data=tiny_data)
  rows = [
    {"id": i, "product": p}
    for i, p in zip(source.items.ids, source.items.products, strict=True)
  ]
  write_export(export, source.vectors, rows)
  data = f"--data={tiny_data}"
  for name in ("tfidf", "thumbnail"):
    expected = getattr(baselines, name)(tiny_data, bootstrap=9).to_dict()
    scored = item_jax.score(name, data=tiny_data, bootstrap=9)
    assert scored.to_dict() == expected
    run("evaluate", name, data, "--bootstrap=9", f"--json={tmp_path / name}")
    assert json.loads((tmp_path / name).read_text()) == expected
  table = report(tiny_data, "test", {"mine": export, "words": "tfidf"})
  assert table["mine"] == table["thumbnail"]
  assert table["words"] == table["tfidf"]
  words = ("fuse", "tfidf", "thumbnail", data, f"--out={tmp_path / 'f'}")
  output = run(*words, "--tune", "tfidf", "thumbnail")
  assert "tfidf of test: weight" in output
  found = item_jax.score(tmp_path / "f", bootstrap=0)
  one = [item_jax.score(x, data=tiny_data, bootstrap=0) for x in words[1:3]]
  assert found["map@10"] >= min(x["map@10"] for x in one)
  answered = run("probe", "tfidf", "--train=tfidf", "--val=tfidf", data)
  assert "logistic, C =" in answered


def test_what_is_said_of_a_part_is_what_its_vectors_score(caplog):
  """Vectors without a long direction: what seems to gain is left as it was."""
  random = np.random.default_rng(0)

  def part(name):
    own_ND = np.repeat(random.normal(size=(300, 12)), 2, axis=0)
    rows = range(600)
    items = Items([f"{name}{r}" for r in rows], [f"p{r // 2}" for r in rows])
    return own_ND + random.normal(size=(600, 12)), items

  test, val, train = part("test"), part("val"), part("train")
  with caplog.at_level("INFO", "item_jax.evaluation.fusion_tuning"):
    item_jax.fuse(test, test, tune_on=(val, val), fit_on=(train, train))
  plain = item_jax.score(*val, bootstrap=0).summary["map@10"]
  said = f"as it is, MAP@10 {plain:.4f} on validation; {plain:.4f} as it is"
  found = [text for text in caplog.messages if "as it is" in text]
  assert [said in text for text in found] == [True, True]


@pytest.mark.parametrize(
  ("ask", "says"),
  [
    (lambda ours, _: item_jax.score("tfidf"), "tfidf is made of a prepared"),
    (lambda ours, _: item_jax.score(vectors(0, 4), 5), "items=5: expected a t"),
    (lambda ours, _: item_jax.score(ours).compare(5), "against a int"),
    (lambda ours, _: item_jax.search(vectors(0, 4), None), "ids=None: expect"),
    (lambda ours, _: item_jax.search(vectors(0, 1)[:1], {"a"}), "ids=.*a list"),
    (lambda ours, _: item_jax.search(vectors(0, 1)[:1], [np.nan]),
     "row 0 is nan, a float; expected a text"),
    (lambda ours, _: item_jax.search(vectors(0, 1)[:1], ["a"], k=2.0),
     "k=2.0: expected a whole number from 1"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, image_weight="a"),
     "the image's weight is 'a'; expected 0 to 1"),
    (lambda ours, theirs: item_jax.score(theirs.partition(":")[0]),
     r"x\.npy without items: expected an export, FILE\.npy:ITEMS\.csv"),
    (lambda ours, theirs: item_jax.fuse(ours, (vectors(0, 4), listed("x"))),
     "row 0 is listing 'test00' in .* and 'x00' in vectors"),
    (lambda ours, theirs: item_jax.fuse(ours), "parts to fuse: 1;"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, weights=(1, 2, 3)),
     r"weights are \(1, 2, 3\); expected 2"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, weights=(1, -1)),
     "none below 0"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, weights=0.5),
     r"weights are 0\.5; expected 2"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, weights={"a": 1, "b": 1}),
     "weights are {'a': 1, 'b': 1}; expected 2"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, fit_on=(ours, theirs)),
     "--fit .* needs --tune"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, tune_on="val"),
     r"--tune \(tune_on=\) names 1 parts; expected the 2"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, tune_on=(ours,)),
     r"--tune \(tune_on=\) names 1 parts; expected the 2"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, tune_on=(ours, theirs)),
     "listing 'test00' is in .* chosen by it"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, like=ours),
     "is no fusion: --like"),
    (lambda ours, theirs: item_jax.score(counts(0), listed(count=9)),
     "embeddings have 60 rows, but there are 9 items"),
    (lambda ours, theirs: device_search.search(
      make_sparse(counts(0)), listed().ids), "leave --devices away"),
    (lambda ours, theirs: item_jax.score(counts(0) * np.nan, listed()),
     "row 0 is not finite"),
    (lambda ours, theirs: item_jax.fuse(
      (vectors(0, 4) * np.nan, listed()), (counts(0), listed())),
     r"vectors: row 0 \(id 'i00'\) has a NaN at value 0"),
    (lambda ours, theirs: item_jax.fuse(
      ours, theirs, weights=(1, 2), tune_on=(ours, theirs)),
     "weights and tune_on are given; expected one"),
    (lambda ours, theirs: item_jax.fuse(
      ours, theirs, tune_on=(ours, theirs), like=ours),
     "tune_on and like are given; expected one"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, ours, image_weight=0.9),
     "image_weight=0.9 is of the first of two parts, and there are 3"),
    (lambda ours, theirs: item_jax.fuse(ours, theirs, weights=(1, np.inf)),
     r"weights are \(1, inf\); expected 2"),
    (lambda ours, theirs: probe(
      (make_sparse(counts(0)), listed("a")), None,
      (make_sparse(counts(0, 30)), listed("b"))),
     "sparse parts of 40 and 30 columns"),
    (lambda ours, theirs: probe(
      (counts(0), listed("a")), None, (vectors(0, 4), listed("b"))),
     "different systems: dims is None, 4"),
  ],
)  # fmt: skip
def test_what_does_not_fit_is_named(ask, says, copied):
  with pytest.raises(UserError, match=says):
    ask(copied[0]["test"], copied[1]["test"])


@pytest.mark.parametrize("spoilt", ["test", "val", "train"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_row_without_a_cosine_is_refused_before_it_is_joined(
  spoilt, value, tmp_path
):
  """And not written, nor anything learnt from it."""
  doors = {}
  for seed, split in enumerate(("train", "val", "test")):
    made_ND = vectors(seed, 8).astype(np.float64)
    made_ND[2] = 0  # a part may lack a row
    if split == spoilt:
      made_ND[7, 3] = value
    doors[split] = [
      (made_ND, listed(split)),
      (vectors(seed, 5), listed(split)),
    ]
  with pytest.raises(UserError, match=rf"row 7 \(id '{spoilt}07'\).* value 3"):
    fusion.fuse(
      *doors["test"],
      tune_on=doors["val"],
      fit_on=doors["train"],
      out=tmp_path / "f",
    )
  assert not (tmp_path / "f").exists()


def test_a_choice_is_taken_of_an_undamaged_fusion_of_such_parts(tmp_path):
  wide, narrow = (vectors(0, 8), listed()), (vectors(0, 5), listed())
  fusion.fuse(wide, narrow, weights=(3, 1), out=tmp_path / "f")
  again = fusion.fuse(wide, narrow, like=tmp_path / "f")
  assert again.weights == (0.75, 0.25)
  with pytest.raises(UserError, match=r"dims is \[8, 5\], .* \[5, 8\]"):
    fusion.fuse(narrow, wide, like=tmp_path / "f")
  (tmp_path / "f" / "transform-2.npz").unlink()
  with pytest.raises(UserError, match=r"transform-2\.npz is missing"):
    fusion.fuse(wide, narrow, like=tmp_path / "f")


def test_the_command_refuses_a_transform_without_training(
  copied, tmp_path, run
):
  words = ("fuse", *copied[1].values(), f"--out={tmp_path / 'x'}")
  assert "--fit names" in run(*words, "--transform=auto", code=2)
  assert not (tmp_path / "x").exists()
