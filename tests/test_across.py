"""Queries of one export, searched in the index of another."""

import numpy as np
import pytest
from exports import write_export
from pages import listings, store

from item_jax import score_across
from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation.items import Items
from item_jax.evaluation.retrieval import score

IDS = list("abcdef")
PRODUCTS = ["P1", "P1", "P1", "P2", "P2", ""]
TABLE = {"id": IDS, "product": PRODUCTS}


def at(*degrees):
  angles = np.deg2rad(degrees)
  return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


INDEX = at(0, 10, 20, 90, 100, 180)
# As titles might lie: a and d are misplaced.
QUERIES = at(92, 11, 19, 1, 99, 181)


def test_worked_by_hand():
  found = score_across((QUERIES, TABLE), (INDEX, TABLE), k=(1, 2))
  # a at 92: d, e. b at 11: a and c are 11 and 9 away. d at 1: a, b.
  near = [[IDS[row] for row in line[:2]] for line in found.nearest_QK]
  assert near == [["d", "e"], ["c", "a"], ["b", "a"], ["a", "b"], ["d", "c"]]
  assert found.values["recall@2"].tolist() == [0, 1, 1, 0, 1]
  assert found.values["map@1"].tolist() == [0, 0.5, 0.5, 0, 1]
  assert found.summary["left_out"] == 1
  low, high = found.summary["interval"]["recall@2"]
  assert low <= found.summary["recall@2"] <= high


def test_what_is_searched_in_itself_scores_as_ever():
  same = score_across((INDEX, TABLE), (INDEX, TABLE), k=(1, 5))
  alone = score(INDEX, TABLE, k=(1, 5))
  assert same.summary == alone.summary
  assert np.array_equal(same.nearest_QK, alone.nearest_QK)


def test_roles_say_who_asks_and_who_is_found():
  roles = ["query", "index", "index", "index", "both", "index"]
  told = TABLE | {"role": roles}
  found = score_across((QUERIES, TABLE), (INDEX, told), k=1)
  assert [IDS[row] for row in found.rows_Q] == ["a", "e"]
  assert found.summary["index"] == 5
  with pytest.raises(UserError, match="do not say the same of which rows"):
    score_across((QUERIES, TABLE | {"role": roles[::-1]}), (INDEX, told))


@pytest.mark.parametrize(
  ("queries", "table", "says"),
  [
    (at(0, 1, 2, 3, 4), {k: x[:5] for k, x in TABLE.items()}, "expected the"),
    (QUERIES, TABLE | {"id": list("abcdfe")}, "row 4 is listing 'f' in quer"),
    (np.eye(6, dtype=np.float32), TABLE, "has 6 values a row, .* has 2"),
    (0 * QUERIES, TABLE, r"queries .*row 0 \(id 'a'\) is all zero"),
  ],
)
def test_what_does_not_belong_together_is_refused(queries, table, says):
  with pytest.raises(UserError, match=says):
    score_across((queries, table), (INDEX, TABLE))


@pytest.mark.parametrize(
  ("queries", "index"),
  [
    (np.pad(QUERIES, ((0, 0), (0, 2))), np.pad(INDEX, ((0, 0), (2, 0)))),
    (QUERIES, np.tile(INDEX[:1], (6, 1))),
  ],
)
def test_where_all_cosines_are_equal_no_ids_are_ranked(queries, index):
  """Values of the one where the other has none; an index of one vector."""
  with pytest.raises(UserError, match="only ids would rank"):
    score_across((queries, TABLE), (index, TABLE))
  index[-1, 0] = 2  # of one listing more than nothing is known
  assert score_across((queries, TABLE), (index, TABLE), bootstrap=0)


def test_rows_that_are_made_in_python_are_checked_too():
  for items, says in (
    (Items([*IDS[:5], "a"], PRODUCTS), "index vectors: duplicate id 'a'"),
    (Items(IDS, PRODUCTS, roles=["query"] * 6), "no row has the role 'index'"),
  ):
    with pytest.raises(UserError, match=says):
      score_across((QUERIES, items), (INDEX, items))


def test_a_baseline_is_made_of_the_data(tmp_path):
  data = store(tmp_path / "data", listings())
  same = score_across("thumbnail", "thumbnail", data=data, k=(1, 5))
  assert same.summary == score("thumbnail", data=data, k=(1, 5)).summary
  with pytest.raises(UserError, match="tfidf of test has a sparse part"):
    score_across("tfidf", "tfidf", data=data)


def test_exports_of_other_weights_or_transforms_are_refused(tmp_path):
  pairs = zip(IDS, PRODUCTS, strict=True)
  rows = [{"id": name, "product": product} for name, product in pairs]

  def written(name, **meta):
    return write_export(tmp_path / name, INDEX, rows, **meta)

  index = written("index", checkpoint="1" * 64)
  assert score_across(written("same", checkpoint="1" * 64), index)
  with pytest.raises(UserError, match="exports of different weights or trans"):
    score_across(written("other", checkpoint="2" * 64), index)


def test_the_command_asks_one_export_of_another(tmp_path, capsys):
  for name, vectors in (("q", QUERIES), ("i", INDEX)):
    np.save(tmp_path / f"{name}.npy", vectors)
  items = tmp_path / "items.csv"
  lines = [f"{a},{b}" for a, b in zip(IDS, PRODUCTS, strict=True)]
  items.write_text("\n".join(["id,product", *lines]))
  given = f"{tmp_path / 'q.npy'}:{items}"
  index = f"--index={tmp_path / 'i.npy'}:{items}"
  assert main(["evaluate", given, index, "--k=2", "--bootstrap=20"]) == 0
  printed = capsys.readouterr().out
  said = score_across((QUERIES, TABLE), (INDEX, TABLE), k=2, bootstrap=20)
  assert printed == f"{said}\n"
  items.write_text(items.read_text().replace("P1", "null"))
  word = ["--missing=", "--k=2", "--bootstrap=20"]
  assert main(["evaluate", given, index, *word]) == 0
  assert capsys.readouterr().out == printed  # "null" is a product here
  items.write_text(items.read_text().replace("null", "P1"))
  for flags in (["--devices"], ["--embeddings=x.npy"]):
    assert main(["evaluate", given, index, *flags]) == 2
  assert main(["evaluate", index]) == 2
  assert "is searched for an export's rows" in capsys.readouterr().err
