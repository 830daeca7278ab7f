"""Laws of the look at a whole catalogue before its images are read."""

import pytest

from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.row import Reading, hash_split
from item_jax.ingest.survey import survey


def look(tmp_path, rows, header="listing_id,product_id,title,split", **how):
  path = tmp_path / "c.csv"
  train = how.pop("train", False)
  path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
  return survey(Catalogue(path, Reading(**how)), train=train)


def shop(products, listings=3, **extra):
  """Rows of so many products, and of others by name: {name: listings}."""
  sizes = {f"p{n}": listings for n in range(products)} | extra
  names = [name for name, size in sizes.items() for _ in range(size)]
  return [(f"l{n}", name, f"title {n}", "") for n, name in enumerate(names)]


@pytest.mark.parametrize(
  ("product", "share"),
  [("unknown", 20), ("0", 100), ("0000000000000", 30), ("SKU-1", 200)],
)
def test_a_product_that_holds_too_much_is_refused(tmp_path, product, share):
  rows = shop(100, **{product: share})
  with pytest.raises(UserError) as caught:
    look(tmp_path, rows)
  message = str(caught.value)
  assert f"product_id '{product}' holds {share} of {300 + share}" in message
  assert f"({share / (300 + share):.1%})" in message
  for n in range(300, 303):
    assert f"'title {n}'" in message
  assert "--trust_ids" in message
  assert look(tmp_path, rows, trust_ids=True).rows == 300 + share
  # As a word for missing it is the same catalogue without these ids.
  assert look(tmp_path, rows, missing=(product.lower(),)).rows == len(rows)


def test_two_placeholders_do_not_hide_each_other(tmp_path):
  with pytest.raises(UserError, match=r"'unknown' holds 60.*'tbd' holds 50"):
    look(tmp_path, shop(20, unknown=60, tbd=50))


@pytest.mark.parametrize(
  "rows",
  [
    shop(100, large=25),
    shop(10, listings=40),
    shop(5, listings=4, **{"0": 4}),
    [(f"l{n}", str(n % 60 if n < 180 else 3), "t", "") for n in range(190)],
    [(f"l{n}", str(int(n**0.5) // 4), "t", "") for n in range(400)],
    shop(1, listings=9),
    shop(300, listings=1, best=49),
    # As in a catalogue of classes: all are large, one the largest.
    shop(80, listings=70, milk=140),
  ],
  ids=[
    *("large", "all large", "0", "from 0", "0 is the largest"),
    *("one", "singles", "classes"),
  ],
)
def test_plausible_products_pass(tmp_path, rows):
  assert look(tmp_path, rows).rows == len(rows)


def test_a_spreadsheets_code_is_refused(tmp_path):
  rows = [(f"l{n}", "8.9E+12", f"t{n}", "") for n in range(3)]
  with pytest.raises(UserError, match=r"row 1 holds 8.9E\+12: a spreadsheet"):
    look(tmp_path, rows)
  for id_ in ('"8,9E+12"', "8.9e12", "1E+05"):
    with pytest.raises(UserError, match="row 1 holds"):
      look(tmp_path, [("l1", id_, "t", "")])
  # Part numbers look alike.
  assert look(tmp_path, [("l1", "5E10", "t", "")]).rows == 1


def test_products_that_are_true_and_false_are_none(tmp_path):
  rows = [(f"l{n}", str(n % 3 == 0), "t", "") for n in range(30)]
  with pytest.raises(UserError, match="nothing but true and false"):
    look(tmp_path, rows)


def test_rows_without_a_split_follow_their_product(tmp_path):
  rows = [
    ("a", "p1", "t", ""),
    ("b", "p1", "t", "test"),
    ("c", "p1", "t", "nan"),
    ("d", "p2", "t", ""),
    ("e", "p3", "t", "Valid"),
    ("f", "p3", "t", "train"),
    ("g", "p3", "t", ""),
    ("h", "", "t", ""),
  ]
  found = look(tmp_path, rows)
  assert [found.split_of(p) for p in ("p1", "p3")] == ["test", "val"]
  assert found.split_of("p2") == hash_split("p2")
  assert found.followed == 3
  splits = {
    row.listing_id: row.split
    for row in Catalogue(tmp_path / "c.csv").rows(found.split_of)
  }
  assert [splits[x] for x in "abcefg"] == ["test"] * 3 + ["val", "train", "val"]


def test_no_split_given_at_all_follows_nothing(tmp_path):
  found = look(tmp_path, shop(30))
  assert found.followed == 0
  assert {found.split_of(f"p{n}") for n in range(30)} >= {"train", "val"}


def test_a_message_about_splits_speaks_of_splits(tmp_path):
  rows = [(f"l{n}", f"p{n}", "t", str(n % 2 == 0)) for n in range(6)]
  with pytest.raises(
    UserError, match=r"no row is in the split train.*splits are false, true"
  ):
    look(tmp_path, rows, train=True)
  assert look(tmp_path, rows).rows == 6  # with a tokenizer of one's own


def test_memory_is_nine_bytes_a_row(tmp_path):
  import tracemalloc

  def peak(count):
    rows = [(f"l{n}", f"p{n % 1000}", "t", "") for n in range(count)]
    path = tmp_path / "c.csv"
    head = "listing_id,product_id,title,split"
    path.write_text("\n".join([head, *map(",".join, rows)]))
    catalogue = Catalogue(path)
    del rows
    tracemalloc.start()
    survey(catalogue, train=False)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used

  small, large = peak(1_000), peak(41_000)
  # Sorting them takes some copies; a dict of strings takes above 100.
  assert (large - small) / 40_000 < 60


def test_missing_words_are_counted_by_column(tmp_path):
  rows = [
    ("l1", "nan", "NULL", "-"),
    ("l2", "NaN", "null mug", ""),
    ("l3", "<NA>", "t", "None"),
    ("n/a", "p", "t", "train"),
  ]
  look(tmp_path, rows)
  catalogue = Catalogue(tmp_path / "c.csv")
  found = list(catalogue.rows())
  assert catalogue.missing == {
    "listing_id": {"n/a": 1},
    "product_id": {"nan": 1, "NaN": 1, "<NA>": 1},
    "title": {"NULL": 1},
    "split": {"-": 1, "None": 1},
    "image": {},
    "category": {},
  }
  assert found[0].reason == "neither title nor image"
  assert found[1].title == "null mug"
  assert found[3].listing_id == "row-4"
  rows[0] = ("l1", "nan", "NULL", "")
  look(tmp_path, rows[:2], missing=())
  catalogue = Catalogue(tmp_path / "c.csv", Reading(missing=()))
  found = list(catalogue.rows())
  assert [row.product_id for row in found] == ["nan", "NaN"]
  assert found[0].title == "NULL"
