"""The leaf category of frozen embeddings: worked figures, an independent
tool, and what must not matter."""

import csv
import json
import zlib

import numpy as np
import pandas as pd
import pytest
import shell
from exports import write_export
from PIL import Image
from sklearn import metrics as oracle
from sklearn.linear_model import LogisticRegression

from item_jax.errors import UserError
from item_jax.evaluation import classifiers, confusion, labelled, labels
from item_jax.evaluation.probe import (
  probe,
)


def clouds(rows, *, seed, classes=6, width=10, spread=0.7):
  """Rows around the middle of their class, some classes larger."""
  middle_CD = np.random.default_rng(0).standard_normal((classes, width))
  random = np.random.default_rng(seed)
  class_N = random.integers(classes, size=(rows, 2)).min(axis=1)
  noise_ND = spread * random.standard_normal((rows, width))
  vectors_ND = (middle_CD[class_N] + noise_ND).astype(np.float32)
  return vectors_ND, [f"class {c}" for c in class_N]


@pytest.fixture(scope="module")
def parts():
  return clouds(300, seed=1), clouds(100, seed=2), clouds(150, seed=3)


@pytest.fixture(scope="module")
def probed(parts):
  return probe(*parts)


def random_labels(rows=400, seed=0):
  """True labels of 7 classes, said ones of 9: two have no row, one no say."""
  random = np.random.default_rng(seed)
  true = random.integers(7, size=rows)
  said = np.where(
    random.random(rows) < 0.5, true, random.integers(9, size=rows)
  )
  said[said == 4] = 5
  return [f"c{c}" for c in true], [f"c{c}" for c in said]


def score_labels(*given, **options):
  return labels.summary(labels.compare_labels(*given, **options))


def test_worked_labels():
  scores = score_labels([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])
  assert scores["accuracy"] == pytest.approx(0.666667, abs=5e-7)
  assert scores["macro_f1"] == pytest.approx(0.655556, abs=5e-7)
  assert scores["top5"] is None
  assert (scores["rows"], scores["classes_with_support"]) == (6, 3)


def test_agrees_with_scikit_learn():
  true, said = random_labels()
  classes = [f"c{c}" for c in range(9)]
  given = labels.compare_labels(true, said, classes=classes)
  scores = labels.summary(given)
  held = classes[:7]
  assert scores["classes_with_support"] == 7
  assert scores["accuracy"] == pytest.approx(oracle.accuracy_score(true, said))
  assert scores["macro_f1"] == pytest.approx(
    oracle.f1_score(true, said, labels=held, average="macro", zero_division=0)
  )
  expected = oracle.precision_recall_fscore_support(
    true, said, labels=held, zero_division=0
  )
  for line, *values in zip(labels.by_class(given), *expected, strict=False):
    assert (line["precision"], line["recall"], line["f1"]) == pytest.approx(
      values[:3]
    )
    assert line["rows"] == values[3]
  for line in labels.by_class(given)[7:]:
    assert line["recall"] is line["f1"] is None
  np.testing.assert_array_equal(
    confusion.matrix(given),
    oracle.confusion_matrix(true, said, labels=classes),
  )


def test_who_has_no_category_of_training_is_left_out_and_counted():
  true = ["a", "", "b", "new", None, "a"]
  said = ["a", "a", "a", "b", "b", "b"]
  scores = score_labels(true, said, classes=["a", "b", "c"])
  kept = score_labels(["a", "b", "a"], ["a", "a", "b"], classes=["a", "b", "c"])
  assert (scores["without_category"], scores["unknown_category"]) == (2, 1)
  assert (scores["rows"], scores["classes"]) == (3, 3)
  assert scores["classes_with_support"] == 2
  for name in ("accuracy", "macro_f1"):
    assert scores[name] == kept[name]
  with pytest.raises(UserError, match="nothing to score"):
    score_labels(["", "new"], ["a", "a"], classes=["a"])
  with pytest.raises(ValueError, match="no class"):
    score_labels(["a"], ["b"], classes=["a"])


def test_top_five_looks_at_five():
  ranked = [list("bcdeaf"), list("bcdefa"), list("a")]
  scores = score_labels(list("aaa"), list("bba"), ranked, classes="abcdef")
  assert scores["top5"] == pytest.approx(2 / 3)


def test_votes_by_hand():
  near_QK = np.array([[1, 0, 0, 2], [3, 3, 1, 0]])
  for k, expected in (
    (1, [[1, 0, 2, -1], [3, 1, 0, -1]]),
    (2, [[1, 0, 2, -1], [3, 1, 0, -1]]),  # a tie: the nearer first
    (3, [[0, 1, 2, -1], [3, 1, 0, -1]]),
  ):
    assert classifiers.vote(near_QK, 4, k).tolist() == expected


def test_one_neighbour_is_the_nearest(parts):
  (train_ND, train), _, (test_QD, test) = parts
  unit_ND = train_ND / np.linalg.norm(train_ND, axis=1, keepdims=True)
  said = [train[row] for row in (test_QD @ unit_ND.T).argmax(axis=1)]
  result = probe(*parts, neighbours=(1,), strengths=(1.0,), bootstrap=0)
  assert result["knn"]["k"] == 1
  assert result["knn"]["accuracy"] == np.mean(np.array(said) == test)


def test_only_the_classifier_that_was_asked_for(parts, probed):
  result = probe(*parts, kinds=("logistic",), strengths=(10.0,), bootstrap=0)
  assert list(result.predictions) == ["logistic"]
  assert "knn" not in result
  assert result["rows"] == probed["rows"]
  assert "knn" not in str(result)
  for kinds in ("svm", ("logistic", "tree")):
    with pytest.raises(UserError, match="expected some of"):
      probe(*parts, kinds=kinds)


def test_what_are_no_rows_is_named(parts):
  train, val, test = parts
  for given, says in (
    ((train, val, None), r"^test=None: expected \(vectors, categories\)"),
    (("E_train", val, test), "^train=<str>: expected"),
    ((train, val[0], test), "^val=<ndarray>: expected"),
    ((train, val, (test[0], ["mug"])), "^test: 150 vectors, 1 categories"),
    ((train, val, (test[0][:0], [])), "^test: no rows"),
    ((train, (val[0][:2], ["mug", 5]), test), "^val: categories have no order"),
    ((train, (val[0][:1], [["mug"]]), test), "^val: categories have no order"),
  ):
    with pytest.raises(UserError, match=says):
      probe(*given)


def test_validation_chooses(parts, probed):
  """Each setting tried alone: none does better there than the chosen one."""
  train, val, test = parts
  for name, key, choices in (
    ("knn", "k", (1, 5, 20)),
    ("logistic", "C", (1.0, 10.0, 100.0)),
  ):
    option = {"knn": "neighbours", "logistic": "strengths"}[name]
    alone = {}
    for choice in choices:
      one = probe(train, val, test, **{option: (choice,)}, bootstrap=0)
      assert one[name][key] == choice
      alone[choice] = one[name]["val_accuracy"]
    assert len(set(alone.values())) > 1
    assert probed[name]["val_accuracy"] >= max(alone.values()) - 0.011


def test_logistic_regression_is_the_penalised_optimum(parts):
  (train_ND, train), _, (test_QD, _) = parts
  result = probe(*parts, strengths=(10.0,), bootstrap=0)
  middle_D = train_ND.mean(axis=0)
  scale = np.sqrt(((train_ND - middle_D) ** 2).sum(axis=1).mean())
  model = LogisticRegression(
    C=10.0, tol=1e-6, max_iter=10_000, solver="newton-cg"
  )
  model.fit((train_ND - middle_D) / scale, train)
  said = model.predict((test_QD - middle_D) / scale)
  given = result.predictions["logistic"]
  ours = np.array(given.classes)[given.predicted_Q]
  assert result["logistic"]["converged"]
  assert np.mean(ours == said) >= 0.98


def test_c_is_chosen_on_all_values_of_wide_vectors():
  """Here classes show in few values, and others differ more between rows: who
  chose by fits of some directions, or that end early, would take another."""

  def wide(rows, seed):
    vectors_ND, names = clouds(rows, seed=seed, spread=0.3)
    noise_NE = np.random.default_rng(seed).standard_normal((rows, 300)) * 2
    return np.hstack([vectors_ND, noise_NE]).astype(np.float32), names

  given = wide(500, 1), wide(400, 2), wide(20, 3)
  alone = {
    strength: probe(*given, kinds="logistic", strengths=strength, bootstrap=0)[
      "logistic"
    ]["val_accuracy"]
    for strength in classifiers.STRENGTHS
  }
  chosen = probe(*given, kinds="logistic", bootstrap=0)["logistic"]
  print(alone, chosen)
  assert alone[chosen["C"]] == chosen["val_accuracy"] == max(alone.values())
  assert alone[1.0] < max(alone.values()) - 0.05  # so it matters


def test_turning_the_vectors_changes_nothing(parts, probed):
  """So no value of a vector is more than another, as in a fusion's share."""
  random = np.random.default_rng(5)
  turn_DD, _ = np.linalg.qr(random.standard_normal((10, 10)))
  turned = [
    ((3 * vectors @ turn_DD).astype(np.float32), names)
    for vectors, names in parts
  ]
  result = probe(*turned, bootstrap=0)
  for name in ("knn", "logistic"):
    before, after = probed.predictions[name], result.predictions[name]
    assert np.mean(before.predicted_Q == after.predicted_Q) >= 0.99


def test_rows_that_are_all_alike_get_the_largest_class():
  train = np.full((9, 4), 0.5, np.float32), ["b"] * 5 + ["a"] * 4
  test = np.full((4, 4), 0.5, np.float32), ["b", "a", "a", "a"]
  result = probe(train, train, test)
  given = result.predictions["logistic"]
  assert [given.classes[c] for c in given.predicted_Q] == ["b"] * 4
  assert result["logistic"]["accuracy"] == 0.25


def test_without_validation_whole_products_are_kept_out():
  """Listings of a product are equal here and categories mean nothing: who
  chose by a product that was learnt would find k = 1 always right."""
  random = np.random.default_rng(0)
  vectors_ND = np.repeat(random.standard_normal((200, 8)), 2, axis=0)
  names = np.repeat(random.choice(["a", "b"], 200), 2)
  products = np.repeat([f"p{n}" for n in range(200)], 2)
  ids = [f"i{n:03}" for n in range(400)]
  train = vectors_ND.astype(np.float32), names, ids, products
  result = probe(train, None, train, neighbours=(1,), bootstrap=0)
  assert result["train_rows"] + result["val_rows"] == 400
  assert 20 <= result["val_rows"] <= 60
  assert result["knn"]["val_accuracy"] < 0.75
  assert result["knn"]["accuracy"] > 0.9  # as it would have been


def test_a_category_of_one_product_stays_a_class():
  """Though its product is of the tenth that is kept out to choose by."""
  names = [f"p{n}" for n in range(60)]
  alone = next(n for n in names if zlib.crc32(n.encode()) % 10 == 0)
  vectors_ND, categories = clouds(60, seed=4)
  row = names.index(alone)
  categories[row], vectors_ND[row] = "rare", 9
  ids = [f"i{n:02}" for n in range(60)]
  train = vectors_ND, categories, ids, names
  test = vectors_ND[row : row + 1], ["rare"]
  result = probe(train, None, test, neighbours=(1,), bootstrap=0)
  assert result["unknown_category"] == 0
  assert result["knn"]["accuracy"] == result["logistic"]["accuracy"] == 1
  assert 0 < result["val_rows"] == 60 - result["train_rows"]


def test_ranking_by_blocks_changes_nothing(parts, probed, monkeypatch):
  monkeypatch.setattr(classifiers, "_ROWS", 7)
  result = probe(*parts, bootstrap=0)
  for name in ("knn", "logistic"):
    before, after = probed.predictions[name], result.predictions[name]
    assert np.mean(before.predicted_Q == after.predicted_Q) >= 0.99
    assert np.mean(before.top_Q == after.top_Q) >= 0.99
    assert result[name]["val_accuracy"] == pytest.approx(
      probed[name]["val_accuracy"], abs=0.011
    )


def test_two_classes(parts):
  """Where scikit-learn gives one column instead of two."""
  two = [
    (vectors, ["ab"[label == "class 0"] for label in names])
    for vectors, names in parts
  ]
  result = probe(*two, strengths=(10.0,), bootstrap=0)
  assert result["logistic"]["accuracy"] > 0.8
  assert result["logistic"]["top5"] == 1


def test_what_did_not_converge_says_so(parts, probed, monkeypatch):
  monkeypatch.setattr(classifiers, "_MOST_STEPS", 2)
  result = probe(*parts, bootstrap=10)
  assert not result["logistic"]["converged"]
  assert "did not converge" in str(result)
  assert probed["logistic"]["converged"]
  assert "did not converge" not in str(probed)


def test_intervals_go_by_product(probed):
  true, said = random_labels(rows=100)
  given = labels.compare_labels(true, said)
  products = [f"p{n}" for n in range(100)]
  once = labels.intervals(given, products, resamples=400)
  thrice = labels.intervals(
    labels.compare_labels(true * 3, said * 3), products * 3, resamples=400
  )
  for name in ("accuracy", "macro_f1"):
    assert thrice[name] == pytest.approx(once[name])
  for name in ("knn", "logistic"):
    for measure, (low, high) in probed[name]["interval"].items():
      assert low <= probed[name][measure] <= high
    assert low < high


def test_rare_classes_stay_in_the_interval():
  """Thirty classes of one row each, all wrong: a resample that lost a third
  of them would put the whole interval above the score."""
  true = ["large"] * 70 + [f"rare {n}" for n in range(30)]
  given = labels.compare_labels(true, ["large"] * 100)
  low, high = labels.intervals(given, [""] * 100)["macro_f1"]
  assert low < labels.summary(given)["macro_f1"] < high


def test_classes_of_one_row_are_uncertain():
  """Forty coins: their mean has a standard error of .079."""
  true = [f"c{n}" for n in range(40)]
  said = [label if n % 2 else "never" for n, label in enumerate(true)]
  given = labels.compare_labels(true, said)
  low, high = labels.intervals(given, [""] * 40)["macro_f1"]
  assert 3 * 0.079 < high - low < 5 * 0.079


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, float("nan")])
@pytest.mark.parametrize("kind", [float, str])
def test_a_missing_value_is_no_category_and_no_product(parts, gap, kind):
  """As a column of a data frame has it where a cell is empty."""
  train, val, test = parts
  numbers = [[int(name[-1]) for name in names] for _, names in parts]
  named = [[kind(number) for number in column] for column in numbers]
  products = [f"p{row // 2}" for row in range(150)]
  empty, holed = [], []
  for none, column in zip(("", gap), (empty, holed), strict=True):
    for (vectors_ND, _), names in zip((train, val, test), named, strict=True):
      names = [none if row % 3 == 0 else x for row, x in enumerate(names)]
      column.append((vectors_ND, names))
    owners = [none if row % 5 < 2 else x for row, x in enumerate(products)]
    column[2] += (None, owners)
  found = probe(*holed).summary
  assert (found["train_rows"], found["without_category"]) == (200, 50)
  assert found == probe(*empty).summary


@pytest.mark.parametrize("kind", ["knn", "logistic"])
@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0])
def test_a_row_without_direction_is_named(parts, kind, part, bad):
  vectors_ND = parts[part][0].copy()
  vectors_ND[7] = bad
  given = [*parts]
  given[part] = vectors_ND, parts[part][1]
  name = ("train", "val", "test")[part]
  with pytest.raises(UserError, match=f"^{name}: row 7 "):
    probe(*given, kinds=kind)
  # Of no category it is not learnt from, nor chosen by.
  if part < 2:
    given[part][1][7:8], kept = [""], given[part][1][7]
    probe(*given, kinds=kind, bootstrap=0)
    given[part][1][7] = kept


@pytest.mark.parametrize("kind", ["knn", "logistic"])
def test_vectors_of_several_widths_are_refused(parts, kind):
  train, (vectors_ND, names), test = parts
  narrow = vectors_ND[:, :4], names
  with pytest.raises(UserError, match="'train': 10, 'val': 4, 'test': 10"):
    probe(train, narrow, test, kinds=kind)


@pytest.mark.parametrize(
  "choices",
  [
    {"neighbours": [5, 0]},
    {"neighbours": -3},
    {"neighbours": 2.5},
    {"neighbours": []},
    {"strengths": []},
    {"strengths": [1, 0]},
    {"strengths": float("nan")},
    {"strengths": float("inf")},
    {"strengths": "1"},
  ],
)
def test_a_setting_that_is_none_is_refused(parts, choices):
  with pytest.raises(UserError, match=next(iter(choices))):
    probe(*parts, **choices)


@pytest.mark.parametrize(
  "form", [dict, pd.DataFrame, lambda x: pd.DataFrame(x).to_dict("records")]
)
def test_a_pair_of_vectors_and_items_as_all_that_scores_takes(parts, form):
  tables = [
    {"id": [f"{n} {row}" for row in range(len(names))], "category": names}
    for n, (_, names) in enumerate(parts)
  ]
  found = probe(
    *(
      (vectors_ND, form({**table, "product": table["id"]}))
      for (vectors_ND, _), table in zip(parts, tables, strict=True)
    )
  ).summary
  assert found["rows"] == 150
  assert (
    found
    == probe(
      *(
        (x, t["category"], t["id"], t["id"])
        for (x, _), t in zip(parts, tables, strict=True)
      )
    ).summary
  )


@pytest.mark.parametrize(
  ("change", "named"),
  [
    ({"train": ["a"] * 300}, "1 categories"),
    ({"val": ["other"] * 100}, "no validation row"),
    ({"test": [""] * 150}, "nothing to score"),
  ],
)
def test_what_cannot_be_asked_is_refused(parts, change, named):
  changed = [
    (vectors, change.get(name, names))
    for name, (vectors, names) in zip(
      ("train", "val", "test"), parts, strict=True
    )
  ]
  with pytest.raises(labels.NothingToScore, match=named):
    probe(*changed)


@pytest.fixture
def folders(parts, tmp_path):
  """Exports; the categories' names have what pictures stumble over."""
  return [
    write_export(
      tmp_path / split,
      vectors_ND,
      [
        {"id": f"{split}{n}", "category": f"$A > {name} _$ {{"}
        for n, name in enumerate(names)
      ],
    )
    for split, (vectors_ND, names) in zip(
      ("train", "val", "test"), parts, strict=True
    )
  ]


def test_the_command(folders, parts, probed, tmp_path):
  train, val, test = folders
  output = shell.run(
    "probe",
    test,
    f"--train={train}",
    f"--val={val}",
    f"--json={tmp_path / 'p.json'}",
    f"--out={tmp_path / 'out'}",
  )
  assert "Warning" not in output
  scores = json.loads((tmp_path / "p.json").read_text())
  for name in ("knn", "logistic"):
    assert scores[name]["accuracy"] == probed[name]["accuracy"]
    assert f"{scores[name]['macro_f1']:.4f}" in output
    with (tmp_path / "out" / f"categories_{name}.csv").open() as file:
      lines = list(csv.DictReader(file))
    assert sum(int(line["train_rows"]) for line in lines) == 300
    assert sum(int(line["test_rows"]) for line in lines) == 150
    f1 = [float(line["f1"]) for line in lines if line["f1"]]
    assert np.mean(f1) == pytest.approx(scores[name]["macro_f1"], abs=1e-6)
    with (tmp_path / "out" / f"confusion_{name}.csv").open() as file:
      _, *lines = csv.reader(file)
    counts = np.array([line[1:] for line in lines], int)
    assert np.trace(counts) / counts.sum() == pytest.approx(
      scores[name]["accuracy"]
    )
    with Image.open(tmp_path / "out" / f"confusion_{name}.png") as picture:
      assert min(picture.size) > 500
  with (tmp_path / "out" / "answers.csv").open() as file:
    lines = list(csv.DictReader(file))
  right = np.mean([line["knn"] == line["true"] for line in lines])
  assert right == pytest.approx(scores["knn"]["accuracy"])


def test_exports_that_do_not_belong_together(folders, parts, tmp_path):
  train, val, _ = folders
  (vectors_ND, names), *_ = parts
  rows = [{"id": f"o{n}", "category": c} for n, c in enumerate(names)]
  other = write_export(tmp_path / "o", vectors_ND, rows, modality="image")
  with pytest.raises(UserError, match="modality is both, both, image"):
    probe(train, val, other)
  with pytest.raises(UserError, match=r"listing 'train0' is in .*learnt from"):
    probe(train, val, train)


def test_a_picture_of_many_categories(tmp_path, recwarn):
  true = [f"c{n % 90:02}" for n in range(500)]
  given = labels.compare_labels(true, [*true[1:], true[0]])
  confusion.draw(tmp_path / "c.png", given, title="many")
  with Image.open(tmp_path / "c.png") as many:
    side = many.size[1]
  confusion.draw(tmp_path / "c.png", given, title="fewer", largest=20)
  with Image.open(tmp_path / "c.png") as fewer:
    assert side * 0.4 < fewer.size[1] < side * 0.8
  assert not recwarn.list


def test_short_names():
  long = "Z > " + "y" * 50
  assert confusion.short_names(["A > X", "B > X", "A > Y", "X", long]) == [
    "A > X",
    "B > X",
    "Y",
    "X",
    "\u2026" + "y" * 33,
  ]


def test_a_fit_with_little_penalty_goes_on_to_where_scikit_learns_ends():
  """With C = 1000 a gradient of 1e-4 leaves 2 % of the rows otherwise."""
  random = np.random.default_rng(0)
  scale_D = np.geomspace(1, 0.01, 64)
  middle_CD = 0.5 * scale_D * random.normal(size=(10, 64))

  def part(size):
    class_N = random.integers(0, 10, size)
    vectors_ND = middle_CD[class_N] + scale_D * random.normal(size=(size, 64))
    return vectors_ND.astype(np.float32), class_N

  parts = [part(size) for size in (300, 100, 2000)]
  train, val, test = (
    labelled.make_rows("part", (vectors_ND, class_N.astype(str).tolist()))
    for vectors_ND, class_N in parts
  )
  (train_ND, train_N), (_, val_M), (test_ND, _) = parts
  given = {"train_N": train_N, "val_M": val_M, "choices": (1000.0,)}
  found_Q = classifiers.logistic(train, val, test, **given).ranked_Q5[:, 0]

  middle_D = train_ND.mean(axis=0)
  length = np.sqrt(((train_ND - middle_D) ** 2).sum(axis=1).mean())
  to_the_end = LogisticRegression(C=1000.0, tol=1e-8, max_iter=100_000)
  to_the_end.fit((train_ND - middle_D) / length, train_N)
  expected_Q = to_the_end.predict((test_ND - middle_D) / length)
  assert (found_Q != expected_Q).mean() < 0.005
