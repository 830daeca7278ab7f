"""Tests that shops' own exports become the listings that the shop shows."""

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from item_jax.errors import UserError
from item_jax.ingest import sources
from item_jax.ingest.sources import Bad, Listing, Merged, google, schema
from item_jax.ingest.sources.cells import Suspects, plain

CASES = Path(__file__).parents[2] / "shared" / "cases"


def read(table, source="auto", delimiter=",", **options):
  """All that becomes of a table, written as its text or as (names, rows)."""
  if isinstance(table, str):
    lines = csv.DictReader(io.StringIO(table), delimiter=delimiter)
    table = lines.fieldnames, list(lines)
  names, rows = table
  found = sources.find(names, source)
  return list(sources.read(found, names, rows, **options))


def listings(*args, **kwargs):
  """{listing_id: fields}; fails where an id comes twice."""
  fields = [o.fields for o in read(*args, **kwargs) if isinstance(o, Listing)]
  ids = [f["listing_id"] for f in fields]
  assert len(set(ids)) == len(ids)
  return dict(zip(ids, fields, strict=True))


def images(found):
  return {name: fields["image"] for name, fields in found.items()}


def column(found, name):
  return [fields[name] for fields in found.values()]


# Shopify

OLD = "Handle,Title,Body (HTML),Type,Option1 Value,Image Src,Variant Image\n"


def test_shopify_product_is_its_rows_and_each_image_a_listing():
  found = read(
    OLD + "lamp,Blue &amp; <b>red</b> lamp,x,Home > Lamps,S,a.jpg,\n"
    "lamp,,,,S,b.jpg,\n"
    "lamp,,,,M,,\n"
    "vase,Vase,,Home > Vases,S,c.jpg,c.jpg\n"
  )
  assert [type(o) for o in found] == [Listing, Listing, Merged, Listing]
  assert [o.row for o in found] == [1, 2, 3, 4]
  assert found[1].fields == {
    "listing_id": "lamp#2",
    "product_id": "lamp",
    "image": "b.jpg",
    "title": "Blue & red lamp",
    "category": "Home > Lamps",
  }


def test_shopify_headers_of_2024():
  found = listings(
    "Title,URL handle,Product category,Type,Option1 name,Product image URL,"
    "Image position,Variant image URL\n"
    "Shirt,shirt,Apparel > Shirts,tops,Color,https://x/a.jpg?v=1,1,\n"
    ",shirt,,,,https://x/b.jpg?v=1,2,https://x/c.jpg?v=2\n"
  )
  assert images(found) == {
    "shirt": "https://x/a.jpg?v=1",
    "shirt#2": "https://x/b.jpg?v=1",
    "shirt#3": "https://x/c.jpg?v=2",
  }
  assert set(column(found, "category")) == {"Apparel > Shirts"}


def test_shopify_rows_in_any_order_know_their_product():
  found = listings(
    OLD + "lamp,,,,S,b.jpg,\nvase,Vase,,,S,,\nlamp,Lamp,,Lamps,S,a.jpg,\n"
    "vase,,,,M,c.jpg,\n"
  )
  assert images(found) == {"lamp": "b.jpg", "lamp#2": "a.jpg", "vase": "c.jpg"}
  assert column(found, "title") == ["Lamp", "Lamp", "Vase"]
  assert column(found, "category") == ["Lamps", "Lamps", ""]


def test_shopify_title_in_every_row_is_one_product_still():
  found = read(
    OLD + "lamp,Lamp,,,S,a.jpg,\nlamp,Lamp,,,M,a.jpg,\nlamp,Lamp,,,L,,\n"
  )
  assert [type(o) for o in found] == [Listing, Merged, Merged]


def test_shopify_product_without_image_is_its_title():
  found = read(OLD + "lamp,Lamp,,,S,,\nlamp,,,,M,,\ngone,,,,M,,\n,,,,,,\n")
  assert [type(o) for o in found] == [Listing, Merged, Bad, Bad]
  assert found[0].fields["image"] == ""
  assert found[2].reason == "neither title nor image"


def test_words_for_missing_values_are_none():
  table = OLD + "lamp,Lamp,,Lamps,S,a.jpg,nan\nlamp,NaN,,nan,S,b.jpg,nan\n"
  notes = Counter()
  found = listings(table, missing=("nan",), notes=notes)
  assert images(found) == {"lamp": "a.jpg", "lamp#2": "b.jpg"}
  assert column(found, "title") == ["Lamp", "Lamp"]
  assert notes["cells of Variant Image hold 'nan': read as missing"] == 2
  assert notes["cells of Title hold 'NaN': read as missing"] == 1


# WooCommerce

WOO = "ID,Type,SKU,Name,Categories,Images,Parent\n"


def test_woocommerce_lists_of_categories_and_images():
  table = WOO + (
    '1,simple,a,A,"Wear > Shirts, Wear > Hats","x.jpg, y.jpg, x.jpg",\n'
    "2,simple,b,B,Home &amp; Garden > Lamps,,\n"
    "3,simple,c,C,Home &gt; Garden &gt; Vases,,\n"
    '4,simple,d,D,"Wear, Wear > Shirts",,\n'
    '8,simple,h,H,"Sale > A, Sale &gt; A",,\n'
    "5,simple,e,E,Home & Garden > Lamps,,\n"
    '6,simple,f,F,"Home\\, Bed & Bath > Towels, Sale",,\n'
    "7,simple,g,G,Uncategorized,,\n"
  )
  notes = Counter()
  found = listings(table, notes=notes)
  assert {k: v["category"] for k, v in found.items() if "#" not in k} == {
    "a": "Wear > Shirts",
    "b": "Home & Garden > Lamps",
    "c": "Home > Garden > Vases",
    "d": "Wear",
    "h": "Sale > A",
    "e": "Home & Garden > Lamps",
    "f": "Home, Bed & Bath > Towels",
    "g": "",
  }
  assert images(found)["a#2"] == "y.jpg"
  assert "a#3" not in found
  assert notes == {"cells with several categories: the first taken": 3}
  deepest = listings(table, which_category="deepest")
  assert deepest["d"]["category"] == "Wear > Shirts"


@pytest.mark.parametrize("parent", ["id:7", "shirt"])
def test_woocommerce_variations_belong_to_their_parent(parent):
  rows = [
    f"8,variation,s-r,Shirt - Red,,r.jpg,{parent}",
    f"9,variation,s-b,Shirt - Blue,,a.jpg,{parent}",
    f"10,variation,s-g,Shirt - Green,,,{parent}",
    '7,variable,shirt,Shirt,Wear > Shirts,"a.jpg, b.jpg",',
    "11,simple,,Other,,o.jpg,",
  ]
  for order in (rows, rows[::-1]):
    found = listings(WOO + "\n".join(order))
    assert images(found) == {
      "s-r": "r.jpg",
      "shirt": "a.jpg",
      "shirt#2": "b.jpg",
      "id:11": "o.jpg",
    }
    assert found["s-r"]["title"] == "Shirt - Red"
    assert found["s-r"]["category"] == "Wear > Shirts"
    assert found["s-r"]["product_id"] == "shirt"
    assert found["id:11"]["product_id"] == "id:11"


def test_woocommerce_variations_whose_parent_was_not_exported():
  found = read(
    WOO + "8,variation,r,Red,,r.jpg,id:7\n9,variation,b,Blue,,,id:7\n"
    "4,variation,c,C,,,id:5\n6,variation,d,D,,,id:5\n"
  )
  assert [type(o) for o in found] == [Listing, Merged, Listing, Merged]
  assert found[0].fields["product_id"] == "id:7"


def test_woocommerce_rows_of_one_image_and_two_titles_are_two_listings():
  found = listings(WOO + "1,simple,a,One,,x.jpg,P\n2,simple,b,Two,,x.jpg,P\n")
  assert column(found, "title") == ["One", "Two"]
  assert set(column(found, "product_id")) == {"P"}


def test_woocommerce_quote_against_spreadsheets_and_kinds_of_types():
  found = listings(
    WOO + "1,\"simple, virtual\",'-5,'+5 lamp,,,\n"
    '2,"variation, downloadable",v,V,,v.jpg,\'-5\n'
  )
  assert found["-5"]["title"] == "+5 lamp"
  assert found["v"]["product_id"] == "-5"


def test_same_id_twice_stays_the_same_id():
  found = read(WOO + "1,simple,a,One,,x.jpg,\n2,simple,a,Two,,y.jpg,\n")
  assert [o.fields["listing_id"] for o in found] == ["a", "a"]


# Magento

MAGENTO = (
  "sku,store_view_code,product_type,categories,name,base_image,"
  "additional_images,configurable_variations\n"
)


def test_magento_paths_of_categories_and_images():
  found = listings(
    MAGENTO
    + 'a,,simple,"Default Category/Gear/Bags,Default Category/New",A,/a/a.jpg,'
    '"/a/a.jpg,/a/b.jpg",\n'
    "b,,simple,Default Category,B,no_selection,,\n"
    'c,,simple,"Default Category/Bags, Cases/Big\\/Small",C,'
    "/media/catalog/product/c.jpg,,\n"
    'd,,simple,"Default Category/X, Default Category/Y",D,https://x/d.jpg,,\n'
    "e,,simple,Other Root/Tom &amp; Co,E,pub/media/catalog/product/e.jpg,,\n"
  )
  assert images(found) == {
    "a": "a/a.jpg",
    "a#2": "a/b.jpg",
    "b": "",
    "c": "c.jpg",
    "d": "https://x/d.jpg",
    "e": "e.jpg",
  }
  assert column(found, "category") == [
    "Gear > Bags",
    "Gear > Bags",
    "",
    "Bags, Cases > Big/Small",
    "X",
    "Other Root > Tom & Co",
  ]


def test_magento_variants_come_before_their_product():
  found = read(
    MAGENTO + "s-r,,simple,,Shirt-Red,/r.jpg,,\n"
    "s-b,,simple,,Shirt-Blue,/s.jpg,,\n"
    "s-g,,simple,,Shirt-Green,,,\n"
    's,,configurable,Default Category/Shirts,Shirt,/s.jpg,,"sku=s-r,color=Red'
    '|sku=s-b,color=Blue|sku=s-g,color=Green"\n'
    "s,fr,,,Chemise,,,\n"
    "s-r,fr,,,Chemise rouge,,,\n"
  )
  kinds = [Listing, Merged, Merged, Listing, Merged, Merged]
  assert [type(o) for o in found] == kinds
  assert found[0].fields == {
    "listing_id": "s-r",
    "product_id": "s",
    "image": "r.jpg",
    "title": "Shirt-Red",
    "category": "Shirts",
  }


def test_category_separator_of_ones_own():
  table = "sku,name,categories,base_image\na,A,Default Category|Gear|Bags,a.jpg"
  found = listings(table.replace("|", " :: "), category_separator="::")
  assert column(found, "category") == ["Gear > Bags"]


# Google's Merchant Center

GOOGLE = (
  "id\ttitle\tlink\timage link\tadditional image link\titem group id"
  "\tproduct_type\tgoogle_product_category\n"
)


def test_google_text_feed():
  found = read(
    GOOGLE + "1\tShirt S\t\thttps://x/a.jpg\t"
    "https://x/b.jpg,https://x/w_1,h_2/c.jpg\tg\tWear > Shirts\t1604\n"
    "2\tShirt M\t\thttps://x/a.jpg\t\tg\tWear > Shirts\t\n"
    "3\tLamp\t\thttps://x/l.jpg\t\t\t\tHome > Lamps, Lights\n",
    delimiter="\t",
  )
  kinds = [Listing, Listing, Listing, Merged, Listing]
  assert [type(o) for o in found] == kinds
  assert [o.fields["image"] for o in found[:3]] == [
    "https://x/a.jpg",
    "https://x/b.jpg",
    "https://x/w_1,h_2/c.jpg",
  ]
  assert found[1].fields["listing_id"] == "1#2"
  assert found[1].fields["product_id"] == "g"
  assert found[1].fields["category"] == "Wear > Shirts"
  assert found[4].fields["product_id"] == "3"
  assert found[4].fields["category"] == "Home > Lamps, Lights"


@pytest.mark.parametrize(
  ("cell", "path"),
  [
    ("Wear > Shirts,Sale", "Wear > Shirts"),
    ("Wear > Shirts, Wear > Hats", "Wear > Shirts"),
    ("Home, Garden > Lamps", "Home, Garden > Lamps"),
    ("Wear &gt; Shirts, Wear &gt; Hats", "Wear > Shirts"),
  ],
)
def test_google_product_types_with_commas(cell, path):
  found = listings(
    GOOGLE + f"1\tA\t\ta.jpg\t\t\t{cell}\t\n", "google", delimiter="\t"
  )
  assert column(found, "category") == [path]


RSS = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>
<title>Shop</title><link>https://x</link>
<item><title>for readers</title><g:title>Lamp &amp;amp; co</g:title>
<g:shipping><g:price>1</g:price><g:id>9</g:id></g:shipping>
<g:id>1</g:id><g:image_link>https://x/a.jpg?a=1&amp;b=2</g:image_link>
<g:additional_image_link>https://x/b.jpg</g:additional_image_link>
<g:additional_image_link><![CDATA[https://x/c.jpg]]></g:additional_image_link>
<g:product_type>Home &gt; Lamps</g:product_type>
<g:product_type>Sale</g:product_type></item>
<item><g:id>2</g:id><title>Vase</title>
<g:image_link>https://x/v.jpg</g:image_link></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"
 xmlns:g="http://base.google.com/ns/1.0"><title>Shop</title>
<entry><id>tag:x</id><g:id>1</g:id><title>Lamp</title>
<g:image_link>https://x/a.jpg</g:image_link></entry></feed>"""


def from_xml(text, **options):
  names, rows = google.read_xml(io.BytesIO(text.encode()), "feed.xml")
  return listings((names, list(rows)), **options)


def test_google_xml_feeds():
  found = from_xml(RSS)
  assert images(found) == {
    "1": "https://x/a.jpg?a=1&b=2",
    "1#2": "https://x/b.jpg",
    "1#3": "https://x/c.jpg",
    "2": "https://x/v.jpg",
  }
  assert column(found, "title") == ["Lamp & co"] * 3 + ["Vase"]
  assert column(found, "category") == ["Home > Lamps"] * 3 + [""]
  assert images(from_xml(ATOM)) == {"1": "https://x/a.jpg"}


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("<html><body/></html>", "begins with <html>"),
    ("<rss><channel/></rss>", "without an <item>"),
    ("<!DOCTYPE rss><rss/>", "DOCTYPE"),
    ("lamp,1", "no whole XML"),
  ],
)
def test_other_xml_is_refused_before_any_row(text, said):
  with pytest.raises(UserError, match=said):
    google.read_xml(io.BytesIO(text.encode()), "feed.xml")


def test_xml_that_is_cut_short_is_no_feed():
  cut = io.BytesIO(RSS[:-40].encode())
  with pytest.raises(UserError, match="no whole XML"):
    list(google.read_xml(cut, "feed.xml")[1])


# schema.org


def from_json(text, **options):
  names, rows = schema.read_json(io.BytesIO(text.encode()), "shop.json")
  return read((names, rows), **options)


def test_schema_groups_and_their_variants():
  found = from_json(
    """{"@context": "https://schema.org", "@graph": [
    {"@type": "WebSite", "name": "Shop"},
    {"@type": "ProductGroup", "productGroupID": "g", "name": "Shirt",
     "category": ["Wear > Shirts", "Sale"], "image": "a.jpg", "hasVariant": [
      {"@type": "Product", "sku": "g-r", "name": "Shirt red",
       "image": [{"@type": "ImageObject", "contentUrl": "r.jpg"}, "r.jpg"]},
      {"@type": "Product", "sku": "g-m", "name": "Shirt M"}]},
    {"@type": ["Product"], "sku": "g-b", "name": "Shirt blue",
     "image": {"url": "b.jpg"}, "isVariantOf": {"productGroupID": "g"}},
    {"@type": "http://schema.org/Product", "sku": 7, "name": "Lamp",
     "inProductGroupWithID": "l", "image": ["l.jpg", "m.jpg"],
     "category": {"@type": "CategoryCode", "name": "Lamps"}},
    7]}"""
  )
  kinds = [Merged, Listing, Listing, Merged, Listing, Listing, Listing, Bad]
  assert [type(o) for o in found] == kinds
  assert [o.row for o in found] == [1, 2, 2, 2, 3, 4, 4, 5]
  fields = [o.fields for o in found if isinstance(o, Listing)]
  assert [f["listing_id"] for f in fields] == ["g", "g-r", "g-b", "7", "7#2"]
  assert [f["product_id"] for f in fields] == ["g", "g", "g", "l", "l"]
  assert [f["category"] for f in fields] == ["Wear > Shirts"] * 3 + [
    "Lamps"
  ] * 2


def test_a_comma_in_an_image_of_schema_is_of_its_name():
  data = "data:image/png;base64,iVBORw0KGgo="
  found = from_json(
    json.dumps(
      [
        {"@type": "Product", "sku": "1", "image": ["a, b.jpg", "c.jpg"]},
        {"@type": "Product", "sku": "2", "image": {"contentUrl": data}},
        {"@type": "Product", "sku": "3", "image": ["a.jpg", None, "a.jpg"]},
      ]
    )
  )
  images = ["a, b.jpg", "c.jpg", data, "a.jpg"]
  assert [o.fields["image"] for o in found] == images


def test_schema_lines_and_lists():
  found = listings(
    (
      ["@type", "itemListElement", "name", "url", "image"],
      [
        {
          "@type": "ItemList",
          "itemListElement": [
            {"@type": "ListItem", "item": {"@type": "Product", "name": "A"}},
            {"@type": "ListItem", "item": {"@type": "Product", "name": "B"}},
          ],
        },
        {"@type": "Product", "name": "C", "url": "https://x/c"},
      ],
    )
  )
  assert list(found) == ["row-1", "row-1.2", "https://x/c"]
  assert len(set(column(found, "product_id"))) == 3


def test_columns_that_only_later_lines_have():
  line = {"@type": "Product", "sku": "b", "name": "B", "productGroupID": "g"}
  group = {**line, "@type": "ProductGroup", "sku": "a"}
  lines = ["@type", "name"], [line, group]
  assert column(listings(lines, whole=False), "product_id") == ["b", "g"]


def test_json_that_is_no_catalogue_is_refused():
  for text in ("7", "[]", "[1]", '{"a": '):
    with pytest.raises(UserError, match="JSON"):
      schema.read_json(io.BytesIO(text.encode()), "shop.json")


# What is taken for what


@pytest.mark.parametrize(
  "names",
  [
    ["listing_id", "product_id", "image", "title", "category", "split"],
    ["product_id", "Handle", "Title", "Image Src"],
    ["id", "title", "image", "category"],
    ["Handle", "Title", "image"],
    ["name", "sku", "categories", "images"],
    ["ID", "Name", "Price", "Categories"],
    ["sku", "name", "price", "image"],
    ["title"],
    [],
  ],
)
def test_plain_tables_are_no_shops(names):
  assert sources.find(names) is None


def test_source_table_is_a_plain_table():
  assert sources.find(OLD.strip().split(","), "table") is None


@pytest.mark.parametrize("source", sorted(sources.SOURCES))
def test_forced_source_names_what_it_expects_and_what_is_there(source):
  with pytest.raises(UserError, match=r"expects a column .*, .* has color"):
    sources.find(["color"], source)


def test_unknown_options_are_refused():
  with pytest.raises(UserError, match=r"shopware.*shopify"):
    sources.find(["title"], "shopware")
  shopify = sources.SOURCES["shopify"]
  with pytest.raises(UserError, match="which_category"):
    sources.read(shopify, ["Handle"], [], which_category="last")
  with pytest.raises(UserError, match="category_separator"):
    sources.read(shopify, ["Handle"], [], category_separator=" ")


def test_forced_source_reads_headers_in_small_letters():
  found = listings("name,sku,images\nA,a,x.jpg", "woocommerce")
  assert images(found) == {"a": "x.jpg"}


# Laws for all

CELLS = [
  None,
  "",
  "a",
  "b",
  "id:1",
  1,
  1.0,
  float("nan"),
  True,
  b"a",
  b"\xff",
  "a.jpg, b.jpg",
  "https://x/a.jpg,https://x/b.jpg",
  ["a.jpg", "b.jpg"],
  [["a"], {"name": "b"}],
  {"@type": "Product", "name": "n", "sku": "a"},
  {"@type": "ProductGroup", "hasVariant": [{"name": "n"}, 3], "sku": []},
  "A > B, C/D",
  "sku=a,color=b|sku=b",
  "variation",
  "variable, virtual",
  "Product",
  "ProductGroup",
  "<b>&amp;amp; &bogus; <!-- ",
]


@pytest.mark.parametrize("name", sorted(sources.SOURCES))
def test_no_row_is_lost_whatever_is_in_it(name):
  source = sources.SOURCES[name]
  names = [columns[0] for columns in source.fields.values()]
  draw = random.Random(name)
  for _ in range(60):
    rows = [
      {n: draw.choice(CELLS) for n in names if draw.random() < 0.7}
      for _ in range(draw.randrange(12))
    ]
    rows.insert(draw.randrange(len(rows) + 1), "not readable")
    found = list(sources.read(source, names, rows))
    assert list(dict.fromkeys(o.row for o in found)) == [
      *range(1, len(rows) + 1)
    ]
    assert sum(o == Bad(o.row, "not readable") for o in found) == 1
    for fields in (o.fields for o in found if isinstance(o, Listing)):
      assert all(isinstance(value, str) for value in fields.values())
      assert fields["title"] or fields["image"]
      assert fields["product_id"]
      assert fields["listing_id"]


@pytest.mark.parametrize(
  ("markup", "seen"),
  [
    ("Tom &amp; Co", "Tom & Co"),
    ("Tom &amp;amp; Co", "Tom & Co"),
    ("A\u00a0\u200bB&nbsp;C", "A B C"),
    ("caf&eacute; 5&#34; &#x2f;", 'café 5" /'),
    ("Books&notes; &bogus; AT&T", "Books&notes; &bogus; AT&T"),
    ("<p>Lamp</p><br/>35 cm", "Lamp 35 cm"),
    ("H<sub>2</sub>O", "H2O"),
    ("&lt;b&gt;Lamp&lt;/b&gt;", "Lamp"),
    ("Size <M> 3 < 4 > 2", "Size <M> 3 < 4 > 2"),
    ("<script>x()</script>Lamp<!-- old -->", "Lamp"),
    ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
  ],
)
def test_titles_are_what_a_reader_sees(markup, seen):
  assert plain(markup) == seen


def test_number_that_lost_digits_is_no_id():
  names = ["id", "title", "image_link"]
  rows = [
    dict(zip(names, (i, "A", "a.jpg"), strict=True)) for i in (5.0, 9e15, 1e16)
  ]
  found = read((names, rows), "google")
  assert found[0].fields["listing_id"] == "5"
  assert found[1].fields["listing_id"] == "9000000000000000"
  assert found[2].row == 3
  assert found[2].reason.startswith("id holds 1e+16: a spreadsheet or a float")


def test_what_is_suspect_in_a_plain_table_is_counted():
  suspects = Suspects()
  for title, category, image in [
    ("Tom &amp; Co", "", "a.jpg"),
    ("Tom & Co; 3 < 4", "Home, Garden > Lamps", "a, b.jpg"),
    ("<b>A</b>", "Wear > A, Wear > B", "a.jpg, b.jpg"),
  ]:
    suspects.check(title=title, category=category, image=image)
  assert sorted(suspects.counts.values()) == [1, 1, 1, 1]


# The files handed over


@pytest.mark.skipif(not CASES.is_dir(), reason="the case files are elsewhere")
def test_case_files():
  shopify = (CASES / "03-shopify-export/shopify.csv").read_text()
  found = listings(shopify)
  assert len(set(column(found, "product_id"))) == 14
  assert len(found) == 40
  assert all(column(found, "title"))
  assert set(column(found, "category")) == {"Home > Living > Lamps"}
  folder = CASES / "02-woocommerce-categories"
  woo = listings((folder / "woo.csv").read_text())
  assert set(column(woo, "category")) == {
    "Wear",
    "Wear > Hats",
    "Wear > Shirts",
    "Home & Garden > Lamps",
    "Home > Garden > Vases",
  }
  magento = listings((folder / "magento.csv").read_text())
  assert set(column(magento, "category")) == {"Gear > Bags", "Gear > Watches"}
  for name in column(woo | magento, "image"):
    assert (folder / name).is_file()
