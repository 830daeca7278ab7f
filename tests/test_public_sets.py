"""Public sets are read as they are published, into the columns of a table."""

import csv
import gzip
import io
import json
import tarfile
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import item_jax
from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.readers.formats import PUBLIC_SETS
from item_jax.ingest.readers.public_sets import SETS
from item_jax.ingest.row import Reading, Rejected, Row


def jpeg(colour="red") -> bytes:
  file = io.BytesIO()
  Image.new("RGB", (12, 9), colour).save(file, "JPEG")
  return file.getvalue()


def read(path, name) -> list[Any]:
  """Rows without their number and split; the reason of a rejected one."""
  catalogue = Catalogue(path, Reading(file_format=name))
  return [
    row.reason if isinstance(row, Rejected) else tuple(row[1:6])
    for row in catalogue.rows()
  ]


def split_of(path, name) -> dict[str, str]:
  rows = Catalogue(path, Reading(file_format=name)).rows()
  return {row.product_id: row.split for row in rows if isinstance(row, Row)}


def test_the_flag_knows_every_set():
  assert set(PUBLIC_SETS) == set(SETS)


@pytest.fixture
def abo(tmp_path):
  """Amazon Berkeley Objects: its two folders, with the names that it uses."""
  listings = tmp_path / "listings" / "metadata"
  images = tmp_path / "images" / "metadata"
  listings.mkdir(parents=True)
  images.mkdir(parents=True)
  with gzip.open(images / "images.csv.gz", "wt") as file:
    file.write("image_id,height,width,path\n")
    file.write("51a,12,9,8c/8ccb.jpg\n61b,12,9,4b/4be5.jpg\n")
  items = [
    {
      "item_id": "B07",
      "domain_name": "amazon.in",
      "item_name": [
        {"language_tag": "hi_IN", "value": "जूते"},
        {"language_tag": "en_IN", "value": "Red shoes"},
      ],
      "main_image_id": "51a",
      "other_image_id": ["61b", "51a", "gone"],
      "node": [{"node_id": 1, "node_name": "/Categories/Shoes/Sneakers"}],
    },
    {
      "item_id": "B07",
      "domain_name": "amazon.de",
      "item_name": [{"language_tag": "de_DE", "value": "Rote Schuhe"}],
    },
  ]
  path = listings / "listings_0.json.gz"
  with gzip.open(path, "wt") as file:
    file.write("".join(json.dumps(item) + "\n" for item in items))
    file.write("[cut\n")
  return path


def test_abo_lists_each_image_of_an_item(abo):
  *found, broken = read(abo, "abo")
  shoes = "Red shoes", "Categories > Shoes > Sneakers"
  assert found == [
    ("amazon.in/B07", "B07", "8c/8ccb.jpg", *shoes),
    ("amazon.in/B07#2", "B07", "4b/4be5.jpg", *shoes),
    ("amazon.de/B07", "B07", "", "Rote Schuhe", ""),
  ]
  assert broken.startswith("not readable: ")


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"item_name": "Red shoes"}, 'item_name is "Red shoes"; expected a list'),
    ({"node": [None]}, "node is [null]; expected a list of objects"),
    ({"other_image_id": 7}, "other_image_id is 7; expected a list of texts"),
    ({"other_image_id": [{}]}, "other_image_id is [{}]; expected a list of"),
  ],
)
def test_an_item_of_another_form_stops_no_work(abo, change, says):
  item = {"item_id": "B07", "domain_name": "amazon.in"}
  item |= {"item_name": [{"value": "Red shoes"}]}
  lines = [json.dumps(one) for one in (item | change, item)]
  path = abo.with_name("odd.json")
  path.write_text("\n".join(lines))
  odd, good = read(path, "abo")
  assert says in odd
  assert good[0] == "amazon.in/B07"


def test_what_an_abo_item_does_not_say_is_empty(abo):
  path = abo.with_name("bare.json")
  given = {"item_id": None, "node": [{"node_name": None}], "item_name": None}
  two = given | {"main_image_id": "51a", "other_image_id": ["61b"]}
  path.write_text("\n".join(map(json.dumps, (two, given))))
  first, second, nothing = read(path, "abo")
  assert first == ("row-1", "listing:row-1", "8c/8ccb.jpg", "", "")
  assert second == ("row-2", "listing:row-2", "4b/4be5.jpg", "", "")
  assert "neither" in nothing


def test_abo_needs_its_table_of_images(abo, tmp_path):
  (tmp_path / "images" / "metadata" / "images.csv.gz").rename(tmp_path / "x.gz")
  with pytest.raises(UserError, match=r"no .*images\.csv\.gz"):
    read(abo, "abo")


def test_a_cut_table_of_images_is_named_itself(abo, tmp_path):
  """And not the listings, which are whole."""
  file = tmp_path / "images" / "metadata" / "images.csv.gz"
  file.write_bytes(file.read_bytes()[:-9])
  with pytest.raises(UserError, match=r"images\.csv\.gz is broken or cut"):
    read(abo, "abo")


def test_amazon_reviews_list_items_of_the_meta_files(tmp_path):
  items = [
    {
      "main_category": "All Beauty",
      "title": "Hair brush",
      "images": [
        {"thumb": "https://m/t.jpg", "large": "https://m/l.jpg"},
        {"large": "https://m/a.jpg", "hi_res": "https://m/b.jpg"},
        {"large": "https://m/l.jpg", "hi_res": None, "variant": "PT01"},
      ],
      "categories": ["Beauty", "Hair Care"],
      "parent_asin": "B01",
    },
    {"title": "No photo", "images": [], "categories": [], "parent_asin": "B02"},
  ]
  path = tmp_path / "meta_All_Beauty.jsonl"
  path.write_text("".join(json.dumps(item) + "\n" for item in items))
  brush = "Hair brush", "Beauty > Hair Care"
  assert read(path, "amazon_reviews_2023") == [
    ("B01", "B01", "https://m/l.jpg", *brush),
    ("B01#2", "B01", "https://m/b.jpg", *brush),
    ("B02", "B02", "", "No photo", ""),
  ]


# As `datasets` of Hugging Face keeps a list of objects.
BRUSH_OF_COLUMNS = {
  "title": "Hair brush",
  "images": {
    "hi_res": [None, "https://m/b.jpg", None],
    "large": ["https://m/l.jpg", "https://m/a.jpg", "https://m/l.jpg"],
    "thumb": ["https://m/t.jpg", None, None],
    "variant": ["MAIN", "PT01", "PT02"],
  },
  "categories": ["Beauty", "Hair Care"],
  "parent_asin": "B01",
}
NO_PHOTO_OF_COLUMNS = {
  "title": "No photo",
  "images": {"hi_res": [], "large": [], "thumb": [], "variant": []},
  "categories": [],
  "parent_asin": "B02",
}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_images_may_be_one_object_of_lists(tmp_path, ending):
  items = [BRUSH_OF_COLUMNS, NO_PHOTO_OF_COLUMNS]
  path = tmp_path / f"full-00000-of-00001.{ending}"
  if ending == "parquet":
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(items), path)
  else:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
  brush = "Hair brush", "Beauty > Hair Care"
  assert read(path, "amazon_reviews_2023") == [
    ("B01", "B01", "https://m/l.jpg", *brush),
    ("B01#2", "B01", "https://m/b.jpg", *brush),
    ("B02", "B02", "", "No photo", ""),
  ]


def test_a_parquet_without_a_column_is_refused(tmp_path):
  path = tmp_path / "full.parquet"
  pyarrow.parquet.write_table(pyarrow.table({"title": ["a"]}), path)
  with pytest.raises(UserError, match="columns title; expected parent_asin, c"):
    read(path, "amazon_reviews_2023")


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"categories": "Beauty"}, 'categories is "Beauty"; expected a list of'),
    ({"categories": [None]}, "categories is [null]; expected a list of texts"),
    ({"images": "a.jpg"}, 'images is "a.jpg"; expected a list of objects'),
    (
      {"images": {"hi_res": ["a"], "large": ["a", "b"]}},
      "images has 1 hi_res and 2 large; expected as many",
    ),
    ({"images": {"large": "a"}}, 'large is "a"; expected a list of texts'),
    ({"images": [{"large": ["a"]}]}, 'an image is [["a"]]; expected a list of'),
  ],
)
def test_a_review_item_of_another_form_stops_no_work(tmp_path, change, says):
  path = tmp_path / "meta.jsonl"
  item = {"title": "Hair brush", "parent_asin": "B01"}
  path.write_text("\n".join(json.dumps(x) for x in (item | change, item)))
  odd, good = read(path, "amazon_reviews_2023")
  assert says in odd
  assert good == ("B01", "B01", "", "Hair brush", "")


def test_a_sample_may_have_the_id_0(tmp_path):
  write_tar(
    tmp_path / "a.tar", {"9.json": b'{"listing_id": 0, "title": "mug"}'}
  )
  (found,) = read(tmp_path / "a.tar", "webdataset")
  assert found[0] == "0"


def test_shopee(tmp_path):
  path = tmp_path / "train.csv"
  with path.open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(
      ("posting_id", "image", "image_phash", "title", "label_group")
    )
    table.writerow(("train_1", "a.jpg", "94974f93", 'Tape 3M, "strong"', "249"))
  assert read(path, "shopee") == [
    ("train_1", "249", "a.jpg", 'Tape 3M, "strong"', "")
  ]


def test_stanford_online_products(tmp_path):
  header = "image_id class_id super_class_id path\n"
  for name, first in (("train", 1), ("test", 101)):
    rows = [
      f"{n} {n} 1 bicycle_final/{n}_0.JPG\n" for n in range(first, first + 99)
    ]
    (tmp_path / f"Ebay_{name}.txt").write_text(header + "".join(rows))
  both = str(tmp_path / "Ebay_t*.txt")
  found = read(both, "stanford_online_products")
  assert ("1", "1", "bicycle_final/1_0.JPG", "", "bicycle") in found
  splits = split_of(both, "stanford_online_products")
  assert {splits[str(n)] for n in range(1, 100)} == {"train", "val"}
  assert {splits[str(n)] for n in range(101, 200)} == {"test"}


def test_fashion200k(tmp_path):
  path = tmp_path / "dress_test_detect_all.txt"
  path.write_text(
    "women/dresses/mini/517/517_0.jpeg\t0.81\tblack dress\n"
    "women/dresses/mini/517/517_1.jpeg\t0.79\tblack dress\nnothing\n"
  )
  *found, broken = read(path, "fashion200k")
  dress = "black dress", "women > dresses > mini"
  assert found == [
    ("517_0", "517", "women/dresses/mini/517/517_0.jpeg", *dress),
    ("517_1", "517", "women/dresses/mini/517/517_1.jpeg", *dress),
  ]
  assert "expected path, score and description: nothing" in broken
  path.write_text(path.read_text().rpartition("nothing")[0])
  assert split_of(path, "fashion200k") == {"517": "test"}


def write_tar(path, files) -> None:
  with tarfile.open(path, "w") as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))


def test_shards_of_webdataset_hold_the_images(tmp_path):
  red, blue = jpeg("red"), jpeg("blue")
  note = {"caption": "a mug", "url": "https://m/1.jpg", "key": "000000000"}
  ours = {"product_id": "P", "title": "Blue mug", "category": "Home > Mugs"}
  write_tar(
    tmp_path / "00000.tar",
    {
      "000000000.jpg": red,
      "000000000.json": json.dumps(note).encode(),
      "000000000.txt": b"a mug",
      "000000001.jpg": blue,
      "000000001.json": json.dumps({**ours, "split": "test"}).encode(),
      "000000002.jpg": blue,
      "000000002.json": b"{cut",
    },
  )
  write_tar(tmp_path / "00001.tar", {"000010000.txt": b"no image"})
  *found, broken, last = read(str(tmp_path / "*.tar"), "webdataset")
  assert found == [
    ("000000000", "listing:000000000", red, "a mug", ""),
    ("000000001", "P", blue, "Blue mug", "Home > Mugs"),
  ]
  assert "000000002: " in broken
  assert last == ("000010000", "listing:000010000", "", "no image", "")
  dataset = item_jax.prepare(
    str(tmp_path / "*.tar"),
    out=tmp_path / "DATA",
    reading=Reading(file_format="webdataset"),
    max_rejected=0.5,
    tokenizer=_tokenizer(tmp_path),
  )
  assert dataset.counts["stored"] == 3
  (stored,) = dataset.source("test")
  assert stored.product_id == "P"
  assert stored.image


def _tokenizer(folder):
  path = folder / "vocab.txt"
  path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nmug\n")
  return path


@pytest.mark.parametrize("name", ["shopee", "stanford_online_products"])
def test_a_table_of_something_else_is_refused(tmp_path, capsys, name):
  path = tmp_path / "other.txt"
  path.write_text("a,b\n1,2\n")
  command = ["prepare", str(path), f"--out={tmp_path}/D", f"--format={name}"]
  assert main(command) == 2
  assert "has the columns a,b; expected" in capsys.readouterr().err.replace(
    "a, b", "a,b"
  )


def test_a_cut_shard_is_refused(tmp_path, capsys):
  write_tar(tmp_path / "a.tar", {"1.jpg": bytes(9000)})
  cut = (tmp_path / "a.tar").read_bytes()[:3000]
  (tmp_path / "a.tar").write_bytes(cut)
  command = ["prepare", f"{tmp_path}/a.tar", f"--out={tmp_path}/D"]
  assert main([*command, "--format=webdataset"]) == 2
  assert "a.tar is no whole .tar" in capsys.readouterr().err
