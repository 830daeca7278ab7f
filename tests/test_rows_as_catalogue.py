"""A catalogue may be rows that a program holds: as a table of the same rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
from shop import FIELDS, make_shop, rejected

import item_jax
from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.prepare import TooManyRejected, prepare


@pytest.fixture
def shop(tmp_path) -> Path:
  return make_shop(tmp_path)


def rows_of(shop) -> list[dict]:
  with open(shop / "c.csv", newline="") as file:
    return list(csv.DictReader(file))


def records_of(dataset) -> dict:
  return {split: list(dataset.source(split)) for split in dataset.sizes}


def prepare_rows(shop, rows, **options):
  options = {"images": shop / "images", "workers": 1} | options
  return prepare(rows, out=shop / "rows", overwrite=True, **options)


def test_rows_become_what_their_table_becomes(shop):
  table = prepare(
    shop / "c.csv", images=shop / "images", out=shop / "table", workers=1
  )
  expected = records_of(table)
  rows = rows_of(shop)
  assert records_of(prepare_rows(shop, rows)) == expected
  assert records_of(prepare_rows(shop, (row for row in rows))) == expected
  paths = [{**r, "image": shop / "images" / r["image"]} for r in rows]
  assert records_of(prepare_rows(shop, paths)) == expected
  data = [{**r, "image": path.read_bytes()} for r, path in _read(paths)]
  assert records_of(prepare_rows(shop, data, images=None)) == expected


def _read(rows):
  return [(row, row["image"]) for row in rows]


def test_a_data_frame_is_its_rows(shop):
  pd = pytest.importorskip("pandas")
  frame = pd.DataFrame(rows_of(shop))
  frame.loc[3, "title"] = None
  frame.loc[4, "product_id"] = pd.NA
  dataset = prepare_rows(shop, frame)
  assert dataset.catalogue["missing_title"]["all"] == 1
  assert dataset.sizes == {"train": 14, "val": 14, "test": 12}


def test_rows_are_read_with_the_rules_of_a_table(shop):
  rows = [
    *rows_of(shop),
    {"listing_id": 7.0, "title": "n/a", "image": "0.jpg"},
    {"listing_id": "gone", "image": "gone.jpg"},
    {"listing_id": "l3", "image": "0.jpg"},
    ["no", "mapping"],
  ]
  dataset = prepare_rows(shop, rows, max_rejected=0.1)
  assert dataset.counts["read"] == 44
  assert dataset.catalogue["reading"]["missing"] == {"title": {"n/a": 1}}
  reasons = {
    row["row"]: row["reason"] for row in rejected(dataset.path / "rejected.csv")
  }
  assert reasons == {
    "42": "the image file is not there: gone.jpg",
    "43": "duplicate listing_id",
    "44": "not a mapping of columns to cells: list",
  }
  with pytest.raises(UserError, match=r"product_id in row 1 holds 1e\+16"):
    prepare_rows(shop, [{"product_id": 1e16, "title": "mug"}])
  with pytest.raises(TooManyRejected, match="4 of 4 rows"):
    prepare_rows(shop, [dict.fromkeys(FIELDS, "")] * 4)


def test_an_array_in_a_cell_rejects_its_row(shop):
  rows = [
    *rows_of(shop),
    {"listing_id": "a", "image": np.zeros((4, 4, 3), np.uint8)},
    {"listing_id": "b", "title": np.zeros(2)},
    {"product_id": np.zeros(2), "title": "mug"},
  ]
  dataset = prepare_rows(shop, rows, max_rejected=0.1)
  assert [x["reason"] for x in rejected(dataset.path / "rejected.csv")] == [
    "image is no path, and no bytes of an image file: ndarray",
    "title is no text: ndarray",
    "product_id is no text: ndarray",
  ]


@pytest.mark.parametrize("fraction", ["1%", None, 1.5, float("nan")])
def test_what_is_no_fraction_is_refused(shop, fraction):
  with pytest.raises(UserError, match=r"max_rejected=.*: expected a fraction"):
    prepare_rows(shop, rows_of(shop), max_rejected=fraction)


def test_a_column_may_begin_after_the_first_rows(shop):
  rows = [{"title": f"mug {n}"} for n in range(200)]
  rows.append({"title": "mug", "category": "Home > Mugs"})
  assert [*Catalogue(rows).rows()][-1].category == "Home > Mugs"


@pytest.mark.parametrize(
  ("rows", "found"),
  [
    ([], "the catalogue has no rows"),
    ([{}], "the catalogue has no rows"),
    (iter(()), "the catalogue has no rows"),
    ([3, 4], "the catalogue begins with <int>"),
    ([("mug", "mug.jpg")], "the catalogue begins with <tuple>"),
    ({"title": ["red mug"]}, "catalogue=<dict>"),
    (None, "catalogue=None"),
  ],
)
def test_what_has_no_rows_is_told_their_forms(shop, rows, found):
  expected = f"{found}: expected files, .*rows: mappings of column names"
  with pytest.raises(UserError, match=expected):
    prepare_rows(shop, rows)


def test_columns_that_no_row_has_are_named(tmp_path):
  rows = [{"id": n, "product": "p", "title": "mug"} for n in range(3)]
  found = str(item_jax.prepare(rows, out=tmp_path / "data", workers=1))
  assert "warning     no column product_id: the table has id, product" in found
  assert "no column title" not in found
