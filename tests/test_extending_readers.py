"""An outside package adds a shop system or a file format with one file."""

import re
import sqlite3
import sys
from pathlib import Path

import pytest
from shop import photo

from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.ingest.prepare import prepare
from item_jax.ingest.row import Reading

PAGE = Path(__file__).parents[1] / "docs" / "extending_readers.md"
EXPORT = """\
Article number,Family,Name,Pictures,Shelf
m1,mug,Red <b>mug</b>,0.jpg;1.jpg,Home/Mugs
m2,mug,Blue mug,2.jpg,Home/Mugs
h1,,Hat,3.jpg,Wear
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
  """The files of the page as a package outside item_jax, and four images."""
  blocks = re.findall(
    r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL
  )
  assert [name for name, _ in blocks] == [
    "my_shop/source.py",
    "my_shop/format.py",
  ]
  for name, code in blocks:
    file = tmp_path / "packages" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code)
  for n in range(4):
    (tmp_path / f"{n}.jpg").write_bytes(photo(n))
  monkeypatch.syspath_prepend(tmp_path / "packages")
  yield tmp_path
  for name in [n for n in sys.modules if n.partition(".")[0] == "my_shop"]:
    del sys.modules[name]


def records_of(dataset):
  return {
    record.listing_id: record
    for split in dataset.sizes
    for record in dataset.source(split)
  }


def prepare_here(folder, name, **reading):
  return prepare(
    folder / name,
    out=folder / "data",
    reading=Reading(**reading),
    vocab_size=60,
    workers=1,
  )


def test_a_source_of_another_package_reads_its_export(folder):
  (folder / "c.csv").write_text(EXPORT)
  words = ["prepare", str(folder / "c.csv"), f"--out={folder / 'data'}"]
  more = ["--vocab_size=60", "--workers=1"]
  assert main([*words, "--source=my_shop.source:SOURCE", *more]) == 0
  dataset = open_dataset(folder / "data")
  assert dataset.catalogue["reading"]["source"] == "my_shop"
  found = records_of(dataset)
  assert sorted(found) == ["h1", "m1", "m1#2", "m2"]
  assert found["m1"].title == "Red mug"
  assert found["m2"].product_id == found["m1"].product_id == "mug"
  assert found["m2"].category == "Home > Mugs"


def test_its_source_says_which_columns_are_missing(folder):
  (folder / "c.csv").write_text("Article number,Name\nm1,Mug\n")
  with pytest.raises(UserError, match=r"my_shop.*expects a column Pictures"):
    prepare_here(folder, "c.csv", source="my_shop.source:SOURCE")


def test_a_format_of_another_package_opens_its_files(folder):
  with sqlite3.connect(folder / "shop.sqlite") as database:
    database.execute("CREATE TABLE products (listing_id, image, title)")
    rows = [(n, f"{n}.jpg", f"red mug {n}") for n in range(4)]
    database.executemany("INSERT INTO products VALUES (?, ?, ?)", rows)
  dataset = prepare_here(
    folder, "shop.sqlite", file_format="my_shop.format:open_sqlite"
  )
  found = records_of(dataset)
  assert sorted(found) == ["0", "1", "2", "3"]
  assert found["2"].title == "red mug 2"


def test_a_format_is_named_where_the_files_name_does_not_tell(folder):
  (folder / "c.txt").write_text("listing_id,image,title\na,0.jpg,mug\n")
  with pytest.raises(UserError, match="of an unknown kind"):
    prepare_here(folder, "c.txt")
  dataset = prepare_here(folder, "c.txt", file_format="csv")
  assert list(records_of(dataset)) == ["a"]


def test_a_fault_of_a_reader_names_the_row(folder):
  (folder / "packages" / "my_shop" / "faulty.py").write_text(
    "import dataclasses\n"
    "from item_jax.ingest.readers.formats import Table\n"
    "from my_shop.source import SOURCE\n"
    "def short(path, quoting):\n"
    "  rows = [['a', 'mug'], ['b']]\n"
    "  return Table(path, ['listing_id', 'title'], lambda names: iter(rows))\n"
    "def none(path, quoting):\n"
    "  return Table(path, ['title'], lambda names: iter([None]))\n"
    "def read_row(row, cells, categories):\n"
    "  yield from {'Red <b>mug</b>': ()}[cells.value('name')]\n"
    "def texts(row, cells, categories):\n"
    "  yield 'mug'\n"
    "KEYS = dataclasses.replace(SOURCE, read_row=read_row)\n"
    "TEXTS = dataclasses.replace(SOURCE, read_row=texts)\n"
  )
  (folder / "c.csv").write_text(EXPORT)
  for name, says in (
    ("short", "gave 1 as the cells of row 2: expected 2, of listing_id, title"),
    ("none", "gave None as the cells of row 1: expected 1, of title"),
  ):
    with pytest.raises(UserError, match=rf"c\.csv: its reader {says}"):
      prepare_here(folder, "c.csv", file_format=f"my_shop.faulty:{name}")
  with pytest.raises(KeyError) as raised:
    prepare_here(folder, "c.csv", source="my_shop.faulty:KEYS")
  assert raised.value.__notes__ == ["raised by the source 'my_shop' in row 2"]
  with pytest.raises(TypeError, match="<str>: expected an Item or a Merged"):
    prepare_here(folder, "c.csv", source="my_shop.faulty:TEXTS")


@pytest.mark.parametrize(
  ("reading", "message"),
  [
    (
      {"source": "shopfy"},
      "--source=shopfy: expected one of auto, table, shop",
    ),
    ({"source": "my_shap:S"}, "my_shap.*is its package installed"),
    ({"source": "my_shop.source:S"}, "my_shop.source has no S"),
    ({"source": "my_shop.source:read_row"}, "expected a Source"),
    ({"file_format": "xls"}, "--format=xls: expected one of csv, tsv"),
    ({"file_format": "my_shop.format:x"}, "my_shop.format has no x"),
  ],
)
def test_a_name_that_leads_nowhere_is_an_error_that_says_so(
  folder, reading, message
):
  (folder / "c.csv").write_text(EXPORT)
  with pytest.raises(UserError, match=message):
    prepare_here(folder, "c.csv", **reading)
