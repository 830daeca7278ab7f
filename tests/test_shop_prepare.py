"""Laws of preparing shops' exports, addresses and images inside tables."""

import csv
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import photo, rejected

from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.ingest.prepare import TooManyRejected, prepare
from item_jax.ingest.row import Reading

SHOPIFY = ("Handle", "Title", "Option1 Name", "Image Src", "Type")


def write(path, head, rows):
  with open(path, "w", newline="") as file:
    csv.writer(file).writerows([head, *rows])


def shopify(tmp_path, image=lambda n: f"{n}.jpg"):
  """Two products of two images and a size each."""
  rows = []
  for n in range(2):
    rows += [
      (f"lamp-{n}", f"Lamp &amp; shade {n}", "Size", image(2 * n), "Lamps"),
      (f"lamp-{n}", "", "", image(2 * n + 1), ""),
      (f"lamp-{n}", "", "", "", ""),
    ]
  write(tmp_path / "c.csv", SHOPIFY, rows)


def images(folder, names):
  for place, name in enumerate(names):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(place))


def run(tmp_path, **options):
  reading = Reading(**options.pop("reading", {}))
  return prepare(
    options.pop("catalogue", tmp_path / "c.csv"),
    images=options.pop("images", tmp_path),
    out=tmp_path / "data",
    reading=reading,
    vocab_size=200,
    workers=1,
    **options,
  )


def stored(tmp_path):
  store = open_dataset(tmp_path / "data")
  return {
    record.listing_id: record
    for split in store.sizes
    for record in store.source(split)
  }


def test_a_shops_export_becomes_listings(tmp_path):
  shopify(tmp_path)
  images(tmp_path, [f"{n}.jpg" for n in range(4)])
  said = str(run(tmp_path))
  found = stored(tmp_path)
  assert sorted(found) == ["lamp-0", "lamp-0#2", "lamp-1", "lamp-1#2"]
  assert found["lamp-1#2"].title == "Lamp & shade 1"
  assert found["lamp-1#2"].category == "Lamps"
  assert found["lamp-0"].product_id == found["lamp-0#2"].product_id
  assert len({record.image for record in found.values()}) == 4
  assert "read as Shopify's product export" in said
  assert "merged      2 rows: " in said
  how = json.loads((tmp_path / "data/catalogue.json").read_text())["reading"]
  assert how["source"] == "shopify"


def test_source_table_reads_the_same_file_as_it_stands(tmp_path):
  shopify(tmp_path)
  images(tmp_path, [f"{n}.jpg" for n in range(4)])
  reading = {"source": "table", "columns": {"title": "Title"}}
  run(tmp_path, reading=reading, max_rejected=0.9)
  assert len(stored(tmp_path)) == 2
  with pytest.raises(UserError, match="--column maps columns of a plain table"):
    run(tmp_path, reading=reading | {"source": "shopify"})


def test_addresses_are_listed_and_found_where_they_were_fetched(tmp_path):
  def address(n):
    return f"https://cdn.example.com/files/blue%20lamp%20{n}.jpg?v=1{n}"

  shopify(tmp_path, image=address)
  with pytest.raises(TooManyRejected) as raised:
    run(tmp_path)
  assert str(raised.value).startswith("4 images are addresses")
  assert "img2dataset --url_list=" in str(raised.value)
  listed = tmp_path / "data.addresses.csv"
  with open(listed, newline="") as file:
    assert [row["url"] for row in csv.DictReader(file)] == [
      address(n) for n in range(4)
    ]
  reasons = {
    row["reason"].partition(": ")[0]
    for row in rejected(tmp_path / "data.rejected.csv")
  }
  assert reasons == {"the image is an address that was not fetched"}
  # As the files of one's own folder are called, and as img2dataset's are.
  images(tmp_path / "own", [f"blue lamp {n}.jpg" for n in range(4)])
  run(tmp_path, images=tmp_path / "own")
  own = stored(tmp_path)
  shard = tmp_path / "fetched" / "00000"
  images(shard, [f"{n:09}.jpg" for n in range(4)])
  keys = [f"{n:09}" for n in range(4)]
  table = pa.table(
    {
      "url": [address(n) for n in range(4)],
      "key": keys,
      "status": ["success"] * 4,
      "error_message": pa.array([None] * 4, pa.string()),
    }
  )
  pq.write_table(table, tmp_path / "fetched" / "00000.parquet")
  run(tmp_path, images=tmp_path / "fetched", overwrite=True)
  assert stored(tmp_path) == own


def test_a_plain_table_that_looks_like_a_shops_is_reported(tmp_path):
  rows = [
    ("l1", "Lamp &amp; shade", "Home &amp; Garden > Lamps"),
    ("l2", "red mug", "Wear > Shirts, Wear > Hats"),
    ("l3", "AT&T mug", "A > B"),
  ]
  write(tmp_path / "c.csv", ("listing_id", "title", "category"), rows)
  said = str(run(tmp_path, reading={"columns": {}}))
  assert "warning     1 cells with HTML entities" in said
  assert "warning     1 categories that look like a list of paths" in said


def test_the_shells_flags(tmp_path):
  write(
    tmp_path / "c.csv",
    ("sku", "name", "categories", "base_image"),
    [
      (f"s{n}", f"mug {n}", "Default Category|Home|Mugs", "/a/m.jpg")
      for n in range(20)
    ],
  )
  images(tmp_path / "photos", ["a/m.jpg"])
  done = subprocess.run(
    [
      *(sys.executable, "-m", "item_jax", "prepare", tmp_path / "c.csv"),
      f"--images={tmp_path / 'photos'}",
      f"--out={tmp_path / 'data'}",
      "--source=magento",
      "--category_separator=|",
      "--which_category=deepest",
      "--vocab_size=200",
      "--workers=1",
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert {r.category for r in stored(tmp_path).values()} == {"Home > Mugs"}


@pytest.mark.parametrize("form", ["array", "feed"])
def test_what_is_no_table_is_read_by_its_source(tmp_path, form):
  images(tmp_path, ["0.jpg", "1.jpg"])
  if form == "array":
    path = tmp_path / "c.json"
    products = [
      {"@type": "Product", "sku": f"s{n}", "name": f"mug {n}"}
      | {"image": f"{n}.jpg"}
      for n in range(2)
    ]
    path.write_text(json.dumps(products))
  else:
    path = tmp_path / "c.xml"
    items = "".join(
      f"<item><g:id>s{n}</g:id><title>mug {n}</title>"
      f"<g:image_link>{n}.jpg</g:image_link><link>x</link></item>"
      for n in range(2)
    )
    path.write_text(
      '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">'
      f"<channel>{items}</channel></rss>"
    )
  run(tmp_path, catalogue=path)
  found = stored(tmp_path)
  assert {i: r.title for i, r in found.items()} == {
    "s0": "mug 0",
    "s1": "mug 1",
  }


def test_a_json_array_of_plain_rows_is_a_table(tmp_path):
  rows = [{"listing_id": f"l{n}", "title": f"mug {n}"} for n in range(5)]
  (tmp_path / "c.json").write_text(json.dumps(rows))
  run(tmp_path, catalogue=tmp_path / "c.json")
  assert len(stored(tmp_path)) == 5


def test_a_feed_may_call_its_namespace_as_it_likes(tmp_path):
  images(tmp_path, ["0.jpg", "1.jpg"])
  items = "".join(
    f"<item><title>mug {n}</title><c:id>s{n}</c:id>"
    f"<c:item_group_id>p</c:item_group_id><c:image_link>{n}.jpg"
    "</c:image_link><c:product_type>Home &gt; Mugs</c:product_type></item>"
    for n in range(2)
  )
  path = tmp_path / "c.xml"
  path.write_text(
    '<rss version="2.0" xmlns:c="http://base.google.com/ns/1.0">'
    f"<channel>{items}</channel></rss>"
  )
  run(tmp_path, catalogue=path)
  found = stored(tmp_path)
  assert sorted(found) == ["s0", "s1"]
  assert {(r.product_id, r.category) for r in found.values()} == {
    ("p", "Home > Mugs")
  }
  assert all(record.image for record in found.values())


def test_a_variant_may_name_its_group_by_any_of_its_ids(tmp_path):
  group = {
    "@type": "ProductGroup",
    "@id": "#coat",
    "productGroupID": "44E",
    "name": "Coat",
    "category": "Wear > Coats",
  }
  variants = [
    {"@type": "schema:Product", "sku": f"v{n}", "name": f"Coat {n}"}
    | {"isVariantOf": {"@id": "#coat"}, "image": f"{n}.jpg"}
    for n in range(2)
  ]
  images(tmp_path, ["0.jpg", "1.jpg"])
  path = tmp_path / "c.jsonld"
  path.write_text(json.dumps({"@graph": [*variants, group]}))
  run(tmp_path, catalogue=path)
  found = stored(tmp_path).values()
  assert {record.product_id for record in found} == {"44E"}
  assert {record.category for record in found} == {"Wear > Coats"}
