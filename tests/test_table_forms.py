"""Laws of formats: one table gives the same rows, whatever it is written in."""

import datetime
import decimal
import json
import math
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from catalogue_rows import read_rows
from hypothesis import given
from hypothesis import strategies as st

from item_jax.errors import UserError
from item_jax.ingest.readers.tables import reusable
from item_jax.ingest.row import Row

WORDS = ["mug", "red", '5"', '"red"', "a, b", "a;b", "new\nline", "Tür", "赤い"]
MISSING = ["nan", "NaN", "None", "NULL", "<NA>", "N/A", "-", "#N/A"]


def whole(value):
  return None if value is None else float(value)


# Of a column's kind: the values that a frame may hold.
IDS = {
  "text": st.sampled_from(["p1", "p2", "007", "1.10", "1e5", " p3 ", "7.0"]),
  "int": st.integers(0, 10**12),
  "float": st.one_of(st.none(), st.integers(-9, 10**9)).map(whole),
  "half": st.sampled_from([0.5, 12.25, 1.1, None]),
  "missing": st.sampled_from(["p1", "p2", None, *MISSING]),
  "decimal": st.sampled_from([decimal.Decimal(t) for t in ("1.50", "2.00")]),
  "date": st.dates(datetime.date(2000, 1, 1), datetime.date(2030, 1, 1)),
  "time": st.datetimes(
    datetime.datetime(2000, 1, 1), datetime.datetime(2030, 1, 1)
  ).map(lambda t: t.replace(microsecond=0)),
  "midnight": st.dates(
    datetime.date(2000, 1, 1), datetime.date(2030, 1, 1)
  ).map(lambda d: datetime.datetime(d.year, d.month, d.day)),
  "uuid": st.uuids().map(str),
  "large": st.sampled_from([12.0, 2.0**53 + 2, 1e17]),
}
TITLES = st.one_of(
  st.none(),
  st.sampled_from(MISSING),
  st.lists(st.sampled_from([*WORDS, *MISSING]), min_size=1, max_size=4).map(
    " ".join
  ),
)
CATEGORIES = st.sampled_from(
  [None, "nan", "Home > Lamps", "Home>Lamps", "A > nan", "Tür", '"quoted"']
)
SPLITS = st.sampled_from([None, "train", "Val", "test", "nan"])


@st.composite
def frames(draw):
  kind = draw(st.sampled_from(sorted(IDS)))
  count = draw(st.integers(1, 6))

  def column(values):
    return draw(st.lists(values, min_size=count, max_size=count))

  return pd.DataFrame(
    {
      "listing_id": [f"l{n}" for n in range(count)],
      "product_id": column(IDS[kind]),
      "title": column(TITLES),
      "image": [f"{n}.jpg" for n in range(count)],
      "category": column(CATEGORIES),
      "split": column(SPLITS),
    }
  )


def write_forms(frame, folder):
  """The frame's files by what wrote them."""
  table = pa.Table.from_pandas(frame, preserve_index=False)
  paths = {
    name: folder / name
    for name in (
      "minimal.csv",
      "all.csv",
      "semicolon.csv",
      "pandas.tsv",
      "packed.csv.gz",
      "packed.csv.zst",
      "pandas.jsonl",
      "pandas.parquet",
      "arrow.csv",
      "arrow.parquet",
      "parts.parquet",
    )
  }
  frame.to_csv(paths["minimal.csv"], index=False)
  frame.to_csv(paths["all.csv"], index=False, quoting=1)
  frame.to_csv(paths["semicolon.csv"], index=False, sep=";")
  frame.to_csv(paths["pandas.tsv"], index=False, sep="\t")
  frame.to_csv(paths["packed.csv.gz"], index=False)
  frame.to_csv(paths["packed.csv.zst"], index=False)
  frame.to_json(
    paths["pandas.jsonl"],
    orient="records",
    lines=True,
    date_format="iso",
    double_precision=15,
    default_handler=str,
  )
  frame.to_parquet(paths["pandas.parquet"], index=False)
  pa_csv.write_csv(table, paths["arrow.csv"])
  pq.write_table(table, paths["arrow.parquet"], row_group_size=2)
  paths["parts.parquet"].mkdir()
  for start in range(0, len(table), 2):
    part = paths["parts.parquet"] / f"part-{start:05}-c000.parquet"
    pq.write_table(table.slice(start, 2), part)
  (paths["parts.parquet"] / "_SUCCESS").touch()
  return paths


def read(path):
  try:
    return list(read_rows(path))
  except UserError as error:
    message = str(error)
    assert "float" in message or "rounded" in message
    return "an id has lost digits"


@given(frames())
def test_every_form_of_a_table_gives_the_same_rows(tmp_path_factory, frame):
  paths = write_forms(frame, tmp_path_factory.mktemp("forms"))
  found = {name: read(path) for name, path in paths.items()}
  first = found["pandas.parquet"]
  for name, rows in found.items():
    assert rows == first, name
  if isinstance(first, list):
    assert len(first) == len(frame)
    for row in first:
      assert row.product_id.lower() not in MISSING
      assert row.title.lower() not in map(str.lower, MISSING)


# ---- What a value's text is: by hand. ----


def product_of(tmp_path, values, kind=None):
  ids = pa.array(values, kind)
  table = pa.table({"title": ["t"] * len(values), "product_id": ids})
  pq.write_table(table, tmp_path / "c.parquet")
  return [row.product_id for row in read_rows(tmp_path / "c.parquet")]


UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
  ("values", "kind", "expected"),
  [
    ([12.0, None], pa.float64(), ["12", "listing:row-2"]),
    ([12.0, math.nan], pa.float32(), ["12", "listing:row-2"]),
    ([0.1], pa.float32(), ["0.1"]),  # 0.10000000149011612 as a double
    ([0.1], pa.float64(), ["0.1"]),
    ([np.float16(0.1)], pa.float16(), ["0.1"]),
    ([2**24 - 1], pa.float32(), ["16777215"]),
    ([2**53 - 1], pa.float64(), ["9007199254740991"]),
    ([90071992547409930], pa.int64(), ["90071992547409930"]),
    ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
    ([decimal.Decimal("12.00")], None, ["12"]),
    ([decimal.Decimal("12.50")], None, ["12.50"]),
    ([datetime.date(2024, 1, 2)], None, ["2024-01-02"]),
    ([datetime.datetime(2024, 1, 2)], None, ["2024-01-02"]),
    (
      [datetime.datetime(2024, 1, 2, 3, 4, 5)],
      pa.timestamp("ns"),
      ["2024-01-02 03:04:05"],
    ),
    ([UUID.bytes], pa.binary(16), [str(UUID)]),
    ([UUID.bytes], pa.uuid(), [str(UUID)]),
    (["p1"], pa.string_view(), ["p1"]),
    ([b"p1"], pa.binary(), ["p1"]),
    (["007"], pa.string(), ["007"]),
  ],
)
def test_ids_of_every_type(tmp_path, values, kind, expected):
  assert product_of(tmp_path, values, kind) == expected


@pytest.mark.parametrize(
  ("values", "kind", "says"),
  [
    # 2^24 may have been 2^24 + 1.
    ([2.0**24], pa.float32(), "the float32 16777216: from 16,777,216 on"),
    ([2.0**53], pa.float64(), "from 9,007,199,254,740,992 on"),
    ([1e17], pa.float64(), r"holds 1e\+17"),
    (["8.9E+12"], pa.string(), r"row 1 holds 8.9E\+12: .*--trust_ids"),
    (["9007199254740994.0"], pa.string(), "floats do not hold every"),
  ],
)
def test_ids_that_lost_digits_are_refused(tmp_path, values, kind, says):
  with pytest.raises(UserError, match=f"product_id in row 1 .*{says}|{says}"):
    product_of(tmp_path, values, kind)
  (row,) = read_rows(tmp_path / "c.parquet", trust_ids=True)
  assert row.product_id


PERIODS = pa.array(pd.period_range("2024", periods=1, freq="D"))


@pytest.mark.parametrize(
  ("column", "values", "says"),
  [
    ("product_id", [True], "type bool, expected text, whole numbers"),
    ("product_id", [["a"]], "type list"),
    ("listing_id", [{"a": 1}], "type struct"),
    ("title", [["a"]], "type list.*, expected text"),
    ("image", [["a.jpg"]], "images of a product are rows of their own"),
    ("image", [1], "expected a path as text, the bytes of an image"),
    ("image", [{"url": "x"}], "type struct"),
    ("category", [{"a": 1}], "or a list of its levels"),
    ("split", [["train"]], "the name of a split"),
    ("product_id", [datetime.time(1)], "type time"),
    ("product_id", PERIODS, "type .*period"),
  ],
)
def test_types_that_cannot_work_are_refused_by_the_schema(
  tmp_path, column, values, says
):
  table = pa.table({"title": ["t"]} | {column: values})
  pq.write_table(table.slice(0, 0), tmp_path / "c.parquet")  # before any row
  with pytest.raises(UserError, match=f"column {column} is of .*{says}"):
    read_rows(tmp_path / "c.parquet")


def test_categories_in_lists(tmp_path):
  levels = [["Home", "Lamps"], [], None, ["A > B", "nan"]]
  table = pa.table({"title": list("abcd"), "category": levels})
  pq.write_table(table, tmp_path / "c.parquet")
  table.to_pandas().to_csv(tmp_path / "c.csv", index=False)
  lines = [
    json.dumps({"title": t, "category": c})
    for t, c in zip("abcd", levels, strict=True)
  ]
  (tmp_path / "c.jsonl").write_text("\n".join(lines))
  for kind in ("parquet", "jsonl"):
    found = [row.category for row in read_rows(tmp_path / f"c.{kind}")]
    assert found == ["Home > Lamps", "", "", "A > B"]
  table.to_pandas().map(str).to_csv(tmp_path / "c.csv", index=False)
  shown = {
    "['Home', \"Men's\"]": "Home > Men's",
    '["Home", "Men\'s"]': "Home > Men's",
    "['Home' 'Lamps']": "Home > Lamps",  # numpy's
    "('Home', 'Lamps')": "Home > Lamps",
    "['Home', None]": "Home",
    "[['A', 'B'], ['C']]": "A > B",
    r"['A\nB', 'C\xa0D']": "A B > C D",
    "[1, 2]": "1 > 2",
    "[sale]": "[sale]",
    "(new) > Hats": "(new) > Hats",
    "[]": "",
  }
  pd.DataFrame({"title": "t", "category": list(shown)}).to_csv(
    tmp_path / "c.csv", index=False
  )
  found = [row.category for row in read_rows(tmp_path / "c.csv")]
  assert found == list(shown.values())
  pq.write_table(
    pa.table({"title": ["t"], "category": [[1, 2]]}), tmp_path / "c.parquet"
  )
  (row,) = read_rows(tmp_path / "c.parquet")
  assert row.category == "1 > 2"


def test_a_json_column_may_begin_late(tmp_path):
  lines = [{"listing_id": f"l{n}", "title": "t"} for n in range(240)]
  for n, line in enumerate(lines[120:]):
    line |= {"product_id": f"p{n // 4}", "split": "test"}
  path = tmp_path / "c.jsonl"
  path.write_text("\n".join(map(json.dumps, lines)))
  rows = list(read_rows(path))
  assert [row.product_id for row in rows[120:]] == [
    f"p{n // 4}" for n in range(120)
  ]
  assert {row.split for row in rows[120:]} == {"test"}


def test_times_of_several_zones_are_one_time(tmp_path):
  times = pd.date_range("2024-01-02 10:00", periods=2, tz="Europe/Berlin")
  table = pd.DataFrame({"title": "t", "product_id": times})
  table.to_parquet(tmp_path / "c.parquet")
  table.to_csv(tmp_path / "c.csv", index=False)
  table.to_json(
    tmp_path / "c.jsonl", orient="records", lines=True, date_format="iso"
  )
  for kind in ("parquet", "csv", "jsonl"):
    found = [row.product_id for row in read_rows(tmp_path / f"c.{kind}")]
    assert found == ["2024-01-02 09:00:00+00:00", "2024-01-03 09:00:00+00:00"]


def test_times_that_differ_by_nanoseconds_are_two_ids(tmp_path):
  times = ["2024-01-02", "2024-01-02 00:00:00.000000001"]
  times = pd.to_datetime([*times, "2024-01-02 03:04:05.5"], format="mixed")
  table = pd.DataFrame({"title": "t", "product_id": times.astype("M8[ns]")})
  table.to_parquet(tmp_path / "c.parquet")
  table.to_csv(tmp_path / "c.csv", index=False)
  expected = [
    "2024-01-02",
    "2024-01-02 00:00:00.000000001",
    "2024-01-02 03:04:05.500000",
  ]
  for form in (tmp_path / "c.parquet", tmp_path / "c.csv", reusable(table)):
    assert [row.product_id for row in read_rows(form)] == expected


def test_headers_in_capitals(tmp_path):
  path = tmp_path / "c.csv"
  path.write_text("Product_ID,TITLE\np1,red\n")
  (row,) = read_rows(path)
  assert (row.product_id, row.title) == ("p1", "red")
  path.write_text("title,Title\nred,blue\n")
  (row,) = read_rows(path)
  assert row.title == "red"
  path.write_text("TITLE,Title\nred,blue\n")
  with pytest.raises(UserError, match="several columns named TITLE, Title"):
    list(read_rows(path))


def test_what_is_not_packed_as_its_name_says(tmp_path):
  for name in ("c.csv.zst", "c.csv.gz", "c.csv.xz", "c.csv.bz2"):
    (tmp_path / name).write_bytes(b"title\nred\n")
    with pytest.raises(UserError, match="broken or cut short"):
      list(read_rows(tmp_path / name))
  (tmp_path / "c.csv.zip").write_bytes(b"title\nred\n")
  with pytest.raises(UserError, match="unknown kind"):
    list(read_rows(tmp_path / "c.csv.zip"))


def test_folders_of_parts_know_the_columns_in_their_names(tmp_path):
  table = pa.table(
    {"title": list("abc"), "split": ["train", "test", None], "n": [1, 2, 3]}
  )
  pq.write_to_dataset(table, tmp_path / "c", partition_cols=["split"])
  rows = list(read_rows(tmp_path / "c"))
  assert {(row.title, row.split) for row in rows if row.title != "c"} == {
    ("a", "train"),
    ("b", "test"),
  }
  assert len(rows) == 3


def test_several_files_and_patterns_are_one_table(tmp_path):
  for part in range(3):
    (tmp_path / f"part-{part}.csv").write_text(
      f"listing_id,title\nl{part}a,x\nl{part}b,y\n"
    )
  expected = [f"l{part}{side}" for part in range(3) for side in "ab"]
  ways = [
    tmp_path,
    str(tmp_path / "part-*.csv"),
    sorted(tmp_path.iterdir()),
  ]
  for files in ways:
    rows = list(read_rows(files))
    assert [row.listing_id for row in rows] == expected
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
  (tmp_path / "part-9.csv").write_text("listing_id,name\nl9,x\n")
  with pytest.raises(UserError, match=r"part-9\.csv has the columns"):
    list(read_rows(tmp_path))


@pytest.mark.parametrize("packing", ["gz", "zst", "bz2", "xz"])
def test_a_packed_file_that_is_cut_short_is_an_error(tmp_path, packing):
  path = tmp_path / f"c.csv.{packing}"
  frame = pd.DataFrame(
    {"title": [f"mug {n * 7919 % 9973}" for n in range(9000)]}
  )
  kinds = {"gz": "gzip", "zst": "zstd", "bz2": "bz2", "xz": "xz"}
  frame.to_csv(path, index=False, compression=kinds[packing])
  assert len(list(read_rows(path))) == 9000
  path.write_bytes(path.read_bytes()[:-99])
  with pytest.raises(UserError, match="broken or cut short"):
    list(read_rows(path))


def test_images_inside_the_table(tmp_path):
  data = b"\xff\xd8\xff\xe0" + bytes(40)
  table = pa.table(
    {
      "title": list("abcd"),
      "image": [
        {"bytes": data, "path": "a.jpg"},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": None},
        None,
      ],
    }
  )
  pq.write_table(table, tmp_path / "c.parquet")
  found = [row.image for row in read_rows(tmp_path / "c.parquet")]
  assert found == [data, "b.jpg", "", ""]
  table = pa.table({"title": list("abc"), "image": [data, b"b.jpg", None]})
  pq.write_table(table, tmp_path / "c.parquet")
  found = [row.image for row in read_rows(tmp_path / "c.parquet")]
  assert found == [data, "b.jpg", ""]


def test_names_of_columns_in_another_unicode_form(tmp_path):
  composed, apart = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
  for head, said in ((composed, apart), (apart, composed), (apart, apart)):
    (tmp_path / "c.csv").write_text(f"{head},x\nred,y\n")
    (tmp_path / "c.jsonl").write_text(json.dumps({head: "red"}))
    pq.write_table(pa.table({head: ["red"]}), tmp_path / "c.parquet")
    for kind in ("csv", "jsonl", "parquet"):
      (row,) = read_rows(tmp_path / f"c.{kind}", columns={"title": said})
      assert isinstance(row, Row)
      assert row.title == "red"
