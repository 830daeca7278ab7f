"""Laws of a catalogue's files: every row is read once, with its columns."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalogue_rows import read_rows
from PIL import Image

from item_jax.errors import UserError
from item_jax.ingest.prepare import prepare
from item_jax.ingest.readers.tables import reusable
from item_jax.ingest.row import Rejected

HEADER = "listing_id,title\n"


def write(path, *rows, header=HEADER):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(header + "".join(f"{row}\n" for row in rows))
  return path


def test_columns_in_folders_names_are_known_however_a_file_is_named(tmp_path):
  files = [
    write(tmp_path / "c" / f"split={split}" / "part-0.csv", f"{split},mug")
    for split in ("test", "train")
  ]
  folders = [file.parent for file in files]
  for way in (tmp_path / "c", f"{tmp_path}/c/*/*.csv", files, folders):
    found = [(row.listing_id, row.split) for row in read_rows(way)]
    assert found == [("test", "test"), ("train", "train")]


@pytest.mark.parametrize(
  "names",
  [
    ("train-00000-of-00002.csv", "test-00000-of-00001-0a1b2c.csv"),
    ("data/training.csv", "data/test.csv"),
    ("train_0.csv", "TEST_0.csv"),
    ("train/0.csv", "test/0.csv"),
  ],
)
def test_names_of_files_give_their_splits(tmp_path, names):
  """As data sets of Hugging Face are stored."""
  for name, split in zip(names, ("train", "test"), strict=True):
    write(tmp_path / name, *(f"{split}{n},mug" for n in range(20)))
  rows = list(read_rows(tmp_path))
  assert len(rows) == 40
  assert all(row.listing_id.rstrip("0123456789") == row.split for row in rows)


def test_a_column_says_more_of_splits_than_names_of_files(tmp_path):
  for name in ("train", "test"):
    header = "title,split,fold\n"
    write(tmp_path / f"{name}.csv", "mug,val,dev", header=header)
  assert [row.split for row in read_rows(tmp_path)] == ["val", "val"]
  for name in ("train", "test"):
    write(tmp_path / f"{name}.csv", "mug,odd", header="title,fold\n")
  rows = read_rows(tmp_path, columns={"split": "fold"})
  assert [row.split for row in rows] == ["odd", "odd"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_file_without_a_split_beside_others_is_refused(tmp_path, ending):
  header = HEADER if ending == "csv" else '{"title": "mug"}\n'
  for name in ("train", "test", "more"):
    write(tmp_path / f"{name}.{ending}", header=header)
  with pytest.raises(UserError, match=r"more\.\w+ has none: expected one"):
    read_rows(tmp_path)


def test_files_of_one_split_are_divided_by_products(tmp_path):
  for name in ("train", "training-00000-of-00001"):
    write(tmp_path / f"{name}.csv", *(f"{name}{n},mug" for n in range(40)))
  assert {row.split for row in read_rows(tmp_path)} == {"train", "val", "test"}


def test_a_column_is_refused_twice_only_where_it_is_read(tmp_path):
  path = write(tmp_path / "dt=1" / "a.csv", "a,mug,1", header="id,title,dt\n")
  assert [row.title for row in read_rows(path)] == ["mug"]
  path = write(tmp_path / "title=1" / "a.csv", "a,mug")
  with pytest.raises(UserError, match="several columns named title, title"):
    list(read_rows(path))


def test_what_programs_keep_for_themselves_is_no_part(tmp_path):
  for name in ("_temporary/0/a.csv", ".ipynb_checkpoints/a.csv", "_a.csv"):
    write(tmp_path / name, "hidden,mug")
  write(tmp_path / "_color=red" / "a.csv", "l,mug")
  assert [row.listing_id for row in read_rows(tmp_path)] == ["l"]


@pytest.mark.parametrize("log", ["_delta_log", ".hoodie"])
def test_a_table_with_deleted_rows_is_refused(tmp_path, log):
  write(tmp_path / "a.csv", "l,mug")
  (tmp_path / log).mkdir()
  with pytest.raises(UserError, match="deleted or replaced"):
    list(read_rows(tmp_path))


def test_no_rows_are_read_twice(tmp_path):
  path = write(tmp_path / "a.b.csv", "l,mug")
  write(tmp_path / "a.c.csv", "m,mug")
  assert len(list(read_rows(tmp_path))) == 2
  with pytest.raises(UserError, match=r"a\.b\.csv seem to be the same rows"):
    list(read_rows([path, f"{tmp_path}/*.csv"]))
  packed = gzip.compress(path.read_bytes())
  (tmp_path / "a.b.csv.gz").write_bytes(packed)
  with pytest.raises(UserError, match=r"a\.b\.csv\.gz seem to be the same"):
    list(read_rows(tmp_path))
  (tmp_path / "a.b.csv.gz").unlink()
  (tmp_path / "a.b.jsonl").write_text('{"title": "mug"}\n')
  with pytest.raises(UserError, match=r"a\.b\.jsonl seem to be the same rows"):
    list(read_rows(tmp_path))


@pytest.mark.parametrize("again", ["title,image", '\ufeff"title","image"'])
def test_a_header_within_is_no_row(tmp_path, again):
  lines = ["a,a.jpg", "title,b.jpg", again, "c,image"]
  path = write(tmp_path / "a.csv", *lines, header="title,image\n")
  found = [
    row.reason if isinstance(row, Rejected) else row.title
    for row in read_rows(path)
  ]
  reason = "the header once more, as of files put together"
  assert found == ["a", "title", reason, "c"]


def test_a_json_column_of_another_spelling_may_begin_late(tmp_path):
  lines = [{"title": "mug"}] * 200 + [{"title": "mug", "Product_ID": 7}]
  path = tmp_path / "a.jsonl"
  path.write_text("\n".join(map(json.dumps, lines)))
  assert [row.product_id for row in read_rows(path)][-1] == "7"
  assert [row.product_id for row in read_rows(lines)][-1] == "7"


def test_two_spellings_of_a_column_are_two_columns(tmp_path):
  """Or the half of the lines that has the other one would lose its titles."""
  lines = [{"id": 1, "title": "mug"}, {"id": 2, "Title": "cup"}]
  with pytest.raises(UserError, match="several columns named title, Title"):
    list(read_rows(lines))
  rows = list(read_rows(lines, columns={"title": "Title"}))
  assert [getattr(row, "title", "") for row in rows] == ["", "cup"]


def test_an_infinite_id_has_lost_its_digits():
  with pytest.raises(UserError, match="holds the float inf"):
    list(read_rows([{"product_id": math.inf, "title": "mug"}]))


def test_files_of_a_shop_may_spell_columns_each_in_its_way(tmp_path):
  for name, group in (("a", "item_group_id"), ("b", "Item_Group_ID")):
    write(
      tmp_path / f"{name}.tsv",
      f"{name}\tmug\t{name}.jpg\tg",
      header=f"id\ttitle\timage_link\t{group}\n",
    )
  found = [(row.listing_id, row.product_id) for row in read_rows(tmp_path)]
  assert found == [("a", "g"), ("b", "g")]


@pytest.mark.parametrize("kind", ["float32", "Float32", "float[pyarrow]"])
def test_a_data_frame_keeps_the_digits_of_its_floats(kind):
  frame = pd.DataFrame({"product_id": [0.1, None, 12.0], "title": "mug"})
  frame["product_id"] = frame["product_id"].astype(kind)
  rows = [row.product_id for row in read_rows(reusable(frame))]
  assert rows == ["0.1", "listing:row-2", "12"]
  frame["product_id"] = pd.Series([2.0**24, 1, 2]).astype(kind)
  with pytest.raises(UserError, match="holds the float32 16777216"):
    list(read_rows(reusable(frame)))


@pytest.mark.parametrize("table", [lambda frame: frame, pa.Table.from_pandas])
def test_a_data_frame_of_ambiguous_columns_is_refused(table):
  frame = pd.DataFrame({"title": ["a"], "name": ["b"]})
  given = table(frame)
  if isinstance(given, pa.Table):
    given = given.rename_columns(["title", "title"])
  else:
    given.columns = ["title", "title"]
  with pytest.raises(UserError, match="several columns named title"):
    reusable(given)


class PolarsFrame:
  """What Polars has: no rows of mappings, but a way to an Arrow table."""

  def __init__(self, table: pa.Table):
    self.to_arrow = lambda: table


@pytest.mark.parametrize("given", [lambda table: table, PolarsFrame])
def test_a_frame_of_arrow_gives_the_rows_of_its_parquet(tmp_path, given):
  table = pa.table(
    {
      "listing_id": pa.array([7, 8, None]),
      "product_id": pa.array([0.1, None, 2.0], pa.float32()),
      "image": [{"bytes": b"\xff", "path": "a.jpg"}, None, None],
      "title": pa.array(["mug", "vase", "mug"]).dictionary_encode(),
      "category": [["Home", "Mugs"], ["Home"], None],
    }
  )
  pq.write_table(table, tmp_path / "a.parquet")
  expected = list(read_rows(tmp_path / "a.parquet"))
  rows = list(read_rows(reusable(given(table))))
  assert rows == expected
  assert rows[0][1:6] == ("7", "0.1", b"\xff", "mug", "Home > Mugs")


def test_a_category_may_be_an_array(tmp_path):
  """So pandas reads the lists of a Parquet file."""
  path = tmp_path / "a.parquet"
  lists = [["Home", "Mugs"], [], None]
  pq.write_table(pa.table({"title": ["a", "b", "c"], "category": lists}), path)
  frame = pd.read_parquet(path)
  assert isinstance(frame["category"][0], np.ndarray)
  assert list(read_rows(reusable(frame))) == list(read_rows(path))
  inner = np.empty(1, object)
  inner[0] = frame["category"][0]
  (row,) = read_rows([{"title": "a", "category": inner}])
  assert row.category == "Home > Mugs"


def test_a_data_frame_becomes_its_cells():
  frame = pd.DataFrame(
    {"n": pd.array([1, None], "Int64"), "x": [0.5, np.nan], "t": ["a", None]}
  )
  assert reusable(frame) == [
    {"n": 1, "x": 0.5, "t": "a"},
    {"n": None, "x": None, "t": None},
  ]


def test_paths_of_images_start_from_one_folder(tmp_path):
  """Or rows of one folder would get the images of another."""
  lines = {}
  for name in ("a", "b"):
    image = tmp_path / name / "0.png"
    lines[name] = write(tmp_path / name / "c.csv", "0.png", header="image\n")
    Image.new("RGB", (8, 8), "red" if name == "a" else "blue").save(image)
  files = list(lines.values())
  with pytest.raises(UserError, match=r"in several folders, .*--images says"):
    prepare(files, out=tmp_path / "D", workers=1)
  assert not (tmp_path / "D").exists()
  files[1] = write(tmp_path / "b" / "d.csv", "a/0.png", header="image\n")
  files[0].write_text("image\nb/0.png\n")
  made = prepare(files, tmp_path, out=tmp_path / "D", workers=1)
  assert made.counts["stored"] == 2
  titles = [write(tmp_path / n / "t.csv", f"{n},mug") for n in ("a", "b")]
  assert prepare(titles, out=tmp_path / "T", workers=1).counts["stored"] == 2
