"""Odd files of public sets: a row is read or rejected, never lost or mixed."""

import gzip
import io
import json
import tarfile

import pytest

from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.prepare import TooManyRejected, prepare
from item_jax.ingest.readers.public_sets import SETS
from item_jax.ingest.row import Reading, Rejected

SHOPEE = "posting_id,image,image_phash,title,label_group\n"
SOP = "image_id class_id super_class_id path\n"


def read(path, name) -> list[tuple[str, str]]:
  """(listing, image) of each row, and ("", reason) of a rejected one."""
  rows = Catalogue(path, Reading(file_format=name)).rows()
  return [
    ("", row.reason)
    if isinstance(row, Rejected)
    else (row.listing_id, row.image)
    for row in rows
  ]


def write_tar(path, files) -> None:
  """files: {name: bytes, or the name that a link leads to}."""
  with tarfile.open(path, "w") as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      if isinstance(data, str):
        member.type, member.linkname = tarfile.SYMTYPE, data
        tar.addfile(member)
      else:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
  ("name", "header", "whole", "short", "long"),
  [
    ("shopee", SHOPEE, "a,a.jpg,9,mug,1", "b,b.jpg,9", "c,c.jpg,9,red, mug,1"),
    ("stanford_online_products", SOP, "a 1 1 a.jpg", "b 1 1", "c 1 1 d e.jpg"),
  ],
)
def test_a_row_of_other_columns_is_rejected(
  tmp_path, name, header, whole, short, long
):
  path = tmp_path / "train.txt"
  path.write_text(f"{header}{short}\n\n{long}\n{whole}\n")
  first, second, last = read(path, name)
  expected = 5 if name == "shopee" else 4
  assert first == ("", f"3 columns; expected {expected}")
  assert second == ("", f"{expected + 1} columns; expected {expected}")
  assert last == ("a", "a.jpg")


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path):
  path = tmp_path / "train.csv"
  path.write_text(f'{SHOPEE}a,a.jpg,9,"mug,1\nb,b.jpg,9,mug,1\n')
  with pytest.raises(UserError, match=r"train\.csv is broken in line 3"):
    read(path, "shopee")


def test_an_empty_line_of_json_lines_is_no_row(tmp_path):
  path = tmp_path / "meta.jsonl"
  item = json.dumps({"parent_asin": "B", "title": "mug"})
  path.write_text(f"\n{item}\n  \n")
  assert read(path, "amazon_reviews_2023") == [("B", "")]


@pytest.mark.parametrize(
  ("file", "is_test"),
  [
    ("dress_test_detect_all.txt", True),
    ("Test.txt.gz", True),
    ("latest_detect_all.txt", False),
    ("contest.txt", False),
  ],
)
def test_the_test_split_is_a_word_of_the_name(tmp_path, file, is_test):
  line = b"women/dresses/517/517_0.jpeg\t0.81\tblack dress\n"
  opened = gzip.open if file.endswith(".gz") else open
  with opened(tmp_path / file, "wb") as out:
    out.write(line)
  (row,) = Catalogue(tmp_path / file, Reading(file_format="fashion200k")).rows()
  assert (row.split == "test") == is_test


@pytest.mark.parametrize(
  ("file", "says"),
  [
    (
      {"1.json": b"[" * 5_000 + b"]" * 5_000},
      "no sample: 1: maximum recursion depth",
    ),
    (
      {"1.jpg": "0.jpg", "1.txt": b"mug"},
      "no sample: 1: .jpg is a link; expected a file",
    ),
    ({"1.txt": b"caf\xe9"}, "no sample: 1: 'utf-8' codec"),
  ],
)
def test_an_odd_sample_costs_itself_alone(tmp_path, file, says):
  path = tmp_path / "a.tar"
  write_tar(path, {"0.txt": b"mug", **file, "2.txt": b"vase"})
  first, odd, last = read(path, "webdataset")
  assert (first, last) == (("0", ""), ("2", ""))
  assert odd[1].startswith(says)


def test_an_image_of_another_kind_is_not_taken_for_none(tmp_path):
  path = tmp_path / "a.tar"
  write_tar(path, {"0.gif": b"GIF89a", "0.txt": b"mug"})
  (row,) = SETS["webdataset"](path)
  assert isinstance(row, dict)
  assert row["image"] == {"bytes": b"GIF89a"}  # `prepare` says what it is


def test_what_a_shard_holds_beside_is_named_and_can_be_read(tmp_path):
  path = tmp_path / "a.tar"
  files = {
    "0.photo": b"\xff0",
    "0.json": b'{"name": "mug"}',
    "0.text": b"red mug",
  }
  write_tar(path, files | {"1.photo": b"\xff1", "1.text": b"vase"})
  with pytest.raises(UserError, match="it has photo, text, name, listing_id"):
    read(path, "webdataset")
  reading = Reading(
    file_format="webdataset", columns={"image": "photo", "title": "text"}
  )
  rows = list(Catalogue(path, reading).rows())
  assert [(row.listing_id, row.image, row.title) for row in rows] == [
    ("0", b"\xff0", "red mug"),
    ("1", b"\xff1", "vase"),
  ]


def test_a_side_that_no_sample_has_is_said(tmp_path):
  path = tmp_path / "a.tar"
  write_tar(path, {"0.jpg": b"\xff", "0.cls": b"3", "1.jpg": b"\xff"})
  catalogue = Catalogue(path, Reading(file_format="webdataset"))
  assert len(list(catalogue.rows())) == 2
  product, title = catalogue.describe()["absent"]
  assert product.startswith("no column product_id")
  assert title.startswith("no column title: the table has cls, image,")


@pytest.mark.parametrize(
  ("image", "title"), [("img", "caption"), ("image", "title")]
)
def test_files_of_their_names_are_image_and_title(tmp_path, image, title):
  write_tar(
    tmp_path / "a.tar", {f"0.{image}": b"\xff", f"0.{title}": b"red mug"}
  )
  (row,) = Catalogue(
    tmp_path / "a.tar", Reading(file_format="webdataset")
  ).rows()
  assert (row.title, row.image) == ("red mug", b"\xff")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_shards_put_together_are_read_to_the_end(tmp_path, pack):
  packed = ".gz" if pack is gzip.compress else ""
  data = b""
  for name in "abc":
    write_tar(tmp_path / "one.tar", {f"{name}.txt": name.encode()})
    data += pack((tmp_path / "one.tar").read_bytes())
  path = tmp_path / f"all.tar{packed}"
  path.write_bytes(data)
  assert [name for name, _ in read(path, "webdataset")] == ["a", "b", "c"]


def test_a_second_file_of_a_name_is_a_sample_of_its_own(tmp_path):
  """`prepare` rejects it as a duplicate; it took the place of the first."""
  data = b""
  for title in (b"one", b"two"):
    write_tar(tmp_path / "one.tar", {"x.jpg": title, "x.txt": title})
    data += (tmp_path / "one.tar").read_bytes()
  (tmp_path / "all.tar").write_bytes(data)
  rows = Catalogue(
    tmp_path / "all.tar", Reading(file_format="webdataset")
  ).rows()
  assert [(r.image, r.title) for r in rows] == [
    (b"one", "one"),
    (b"two", "two"),
  ]


def test_an_image_of_a_shard_is_its_bytes_and_no_path(tmp_path):
  """Or a file beside the shard would stand in its place."""
  (tmp_path / "b.jpg").write_bytes(b"\0")
  path = tmp_path / "a.tar"
  write_tar(path, {"0.jpg": b"b.jpg", "0.txt": b"mug"})
  (row,) = Catalogue(path, Reading(file_format="webdataset")).rows()
  assert row.image == b"b.jpg"


def test_reasons_of_samples_are_one_kind(tmp_path):
  path = tmp_path / "a.tar"
  write_tar(
    path, {f"{n}.txt": b"caf\xe9" for n in range(3)} | {"3.txt": b"mug"}
  )
  with pytest.raises(TooManyRejected, match=r"\s3  no sample\n"):
    prepare(path, out=tmp_path / "D", reading=Reading(file_format="webdataset"))


def test_where_no_row_can_be_read_each_reason_is_named(tmp_path):
  path = tmp_path / "bad.csv"
  path.write_text("listing_id,product_id,title\na,b\nc,d\n")
  with pytest.raises(TooManyRejected, match=r"2  wrong number of fields\n"):
    prepare(path, out=tmp_path / "D", max_rejected=1, tokenizer=None)


def test_a_mark_of_byte_order_is_no_part_of_a_header(tmp_path):
  path = tmp_path / "train.csv"
  header = "posting_id,image,image_phash,title,label_group"
  path.write_text(f"{header}\na,a.jpg,0,mug,1\n", "utf-8-sig")
  (row,) = SETS["shopee"](path)
  assert isinstance(row, dict)
  assert row["title"] == "mug"


@pytest.mark.parametrize("damage", ["header", "end", "empty"])
def test_a_shard_ends_only_where_its_end_is_marked(tmp_path, damage):
  path = tmp_path / "a.tar"
  write_tar(path, {f"{n}.txt": b"mug" for n in range(4)})
  data = bytearray(path.read_bytes())
  if damage == "header":  # of the third file: each takes two blocks of 512
    data[2 * 1024 + 150] ^= 1
  else:
    del data[2 * 1024 + (100 if damage == "end" else 0) :]
  path.write_bytes(data)
  with pytest.raises(UserError, match=r"a\.tar is no whole \.tar"):
    read(path, "webdataset")


def test_images_of_a_sample_may_have_names(tmp_path):
  path = tmp_path / "a.tar"
  files = {"0.front.png": b"A", "1.jpg": b"B", "1.mask.png": b"C"}
  write_tar(path, files | {"2.front.jpg": b"D", "2.back.jpg": b"E"})
  assert read(path, "webdataset") == [
    ("0", b"A"),
    ("1", b"B"),
    (
      "",
      "no sample: 2: its images are .front.jpg, .back.jpg; expected one .jpg",
    ),
  ]


def test_a_mark_of_byte_order_is_no_part_of_a_title(tmp_path):
  path = tmp_path / "a.tar"
  write_tar(path, {"0.txt": b"\xef\xbb\xbfmug"})
  (row,) = Catalogue(path, Reading(file_format="webdataset")).rows()
  assert row.title == "mug"
