"""Laws of `evaluate --items`: a table means here what it means to `prepare`."""

import logging

import numpy as np
import pandas as pd
import pyarrow
import pytest

from item_jax.errors import UserError
from item_jax.evaluation.items import read_items, read_listed
from item_jax.evaluation.retrieval import score

COUNT = 40


@pytest.fixture
def vectors(tmp_path):
  """Twenty products of two near listings each; every fifth has no product."""
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((COUNT // 2, 8))
  noise = rng.standard_normal((COUNT, 8)) * 0.7
  path = tmp_path / "e.npy"
  np.save(path, (np.repeat(centres, 2, axis=0) + noise).astype(np.float32))
  return path


def frame(missing="", products=None):
  products = products or [f"P{n // 2:03}" for n in range(COUNT)]
  return pd.DataFrame(
    {
      "id": [f"l{n}" for n in range(COUNT)],
      "product": [
        missing if n // 2 % 5 == 0 else product
        for n, product in enumerate(products)
      ],
      "category": ["A" if n < 20 else "B > C" for n in range(COUNT)],
    }
  )


def scores(vectors, path, **options):
  return score(vectors, path, bootstrap=20, **options).summary


@pytest.fixture
def expected(vectors, tmp_path):
  frame().to_csv(tmp_path / "items.csv", index=False)
  found = scores(vectors, tmp_path / "items.csv")
  assert (found["queries"], found["left_out"]) == (32, 8)
  return found


@pytest.mark.parametrize("word", ["nan", "None", "NULL", "<NA>", "n/a", "-"])
def test_words_for_missing_score_as_empty_cells(
  vectors, expected, tmp_path, caplog, word
):
  caplog.set_level(logging.INFO)
  path = tmp_path / "words.csv"
  frame(word).to_csv(path, index=False)
  assert scores(vectors, path) == expected
  line = f"missing     product: {word!r} in 8 rows read as missing"
  assert line in caplog.text
  # Of somebody who sells a brand of that name it is a product of eight.
  other = scores(vectors, path, missing=())
  assert other["queries"] == COUNT


def test_a_product_that_holds_too_much_is_named(vectors, tmp_path, caplog):
  caplog.set_level(logging.INFO)
  path = tmp_path / "items.csv"
  products = ["unknown" if n >= 20 else f"P{n // 2}" for n in range(COUNT)]
  frame(products=products).to_csv(path, index=False)
  scores(vectors, path)
  assert "warning: product 'unknown' holds 16 of 40 rows" in caplog.text


FORMS = {
  "items.tsv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
  "items.csv": lambda f, p: f.to_csv(p, index=False, sep=";"),
  "items.csv.gz": lambda f, p: f.to_csv(p, index=False),
  "items.jsonl": lambda f, p: f.to_json(p, orient="records", lines=True),
  "items.parquet": lambda f, p: f.to_parquet(p),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_format_scores_alike(vectors, expected, tmp_path, name):
  FORMS[name](frame(), tmp_path / name)
  assert scores(vectors, tmp_path / name) == expected


def test_blanks_and_spellings_of_one_number_are_one_product(
  vectors, expected, tmp_path
):
  changed = frame()
  changed.loc[::2, "product"] += "  "
  changed.loc[::3, "id"] = " " + changed.loc[::3, "id"]
  changed["category"] = changed["category"].str.replace(" > ", ">")
  changed.columns = ["id ", " product", "category"]
  changed.to_csv(tmp_path / "spaced.csv", index=False)
  assert scores(vectors, tmp_path / "spaced.csv") == expected
  numbers = [f"{n // 2}.0" if n % 2 else str(n // 2) for n in range(COUNT)]
  mixed = tmp_path / "mixed.csv"
  frame(products=numbers).to_csv(mixed, index=False)
  assert scores(vectors, mixed)["recall@1"] == expected["recall@1"]


def test_an_exports_own_items_are_taken_letter_by_letter(tmp_path):
  path = tmp_path / "items.csv"
  path.write_text('id,product\n" l1",nan\nl2,12.0\nl3,"a\nb"\n')
  assert read_items(path).products == ["nan", "12.0", "a\nb"]
  assert read_items(path).ids == [" l1", "l2", "l3"]
  path.write_text("id,product\n l1,nan\nl2,12.0\n")
  items, words = read_listed(path)
  assert (items.ids, items.products) == (["l1", "l2"], ["", "12"])
  assert words == {"product": {"nan": 1}}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, "U3"])
def test_arrays_are_columns(dtype):
  """As a notebook has labels: numpy's numbers are those of a file."""
  names = np.arange(COUNT).astype(dtype)
  items, _ = read_listed({"id": names, "product": names[::-1]})
  assert items.ids == [str(n) for n in range(COUNT)]
  assert items.products == items.ids[::-1]


def test_values_that_libraries_have_for_nothing_are_empty_cells():
  """In columns and rows as in a data frame; so does `embed` take them."""
  vectors = np.eye(6)[[0, 0, 1, 1, 2, 2]]
  for nothing in (None, np.nan, pd.NA, pd.NaT, np.ma.masked):
    products = ["A", "A", "B", "B", "C", nothing]
    table = {"id": list("abcdef"), "product": products}
    rows = [
      dict(zip(table, row, strict=True))
      for row in zip(*table.values(), strict=True)
    ]
    for given in (table, rows):
      listed, words = read_listed(given, ())
      assert listed.products == ["A", "A", "B", "B", "C", ""]
      assert not words
      assert score(vectors, given, bootstrap=0)["queries"] == 4


def test_a_column_is_a_value_for_each_row():
  ids = list("abcdef")
  for column in ("AABBCC", 1, None):
    with pytest.raises(UserError, match="a value for each row"):
      score(np.eye(6), {"id": ids, "product": column})
  table = {"id": pyarrow.array(ids), "product": pyarrow.array(ids)}
  assert read_listed(table)[0].products == ids


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_id_with_a_line_end_is_the_same_in_every_form(end, tmp_path):
  """And in what we write of it: a bare carriage return would end a row."""
  ids = [f"a{end}{row}" for row in range(6)]
  table = pd.DataFrame(
    {"id": ids, "product": [f"P{end}{n // 2}" for n in range(6)]}
  )
  table.to_csv(tmp_path / "items.csv", index=False, quoting=1)  # all
  table.to_json(tmp_path / "items.jsonl", orient="records", lines=True)
  for given in (table, tmp_path / "items.csv", tmp_path / "items.jsonl"):
    listed, _ = read_listed(given)
    assert listed.ids == [f"a\n{row}" for row in range(6)]
    assert listed.products[5] == "P\n2"
  found = score(np.eye(6), table, bootstrap=0)
  found.write_per_query(tmp_path / "queries.csv")
  assert read_items(tmp_path / "queries.csv").ids == listed.ids
