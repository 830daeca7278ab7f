"""Reads Shopify's product export (CSV), with its headers of all years.

A product is the rows of one handle: the first has its title, further ones a
size or colour (a variant) and a further image each. Images are listings
<handle>, <handle>#2, ... of the product <handle>.
"""

from item_jax.ingest.sources.cells import plain
from item_jax.ingest.sources.items import Item
from item_jax.ingest.sources.source import Source

_FIELDS = {
  "handle": ("Handle", "URL handle"),
  "title": ("Title",),
  "image": ("Image Src", "Product image URL"),
  "variant_image": ("Variant Image", "Variant image URL"),
  # The shop's taxonomy first: a type is free text.
  "category": ("Product Category",),
  "type": ("Type", "Custom Product Type"),
  "standard_type": ("Standardized Product Type",),
}
_MARKS = {
  "Body (HTML)",
  "Image Src",
  "Option1 Name",
  "Option1 Value",
  "Option1 name",
  "Option1 value",
  "Product image URL",
  "Variant SKU",
  "Variant Price",
  "Variant Image",
  "Variant image URL",
}


def _detects(names):
  handled = names & {"Handle", "URL handle"}
  return bool(handled and "Title" in names and names & _MARKS)


def _read_row(row, cells, categories):
  handle = cells.text("handle")
  title = plain(cells.text("title"))
  images = [*cells.entries("image"), *cells.entries("variant_image")]
  category = ""
  for field in ("category", "type", "standard_type"):
    # Commas belong to names here: a product has one category and one type.
    category = category or categories.choose([cells.text(field)])
  images = list(dict.fromkeys(images))
  is_variant = bool(handle and not title)
  yield Item(row, handle, handle, images, title, category, is_variant)


SOURCE = Source(
  name="shopify",
  called="Shopify's product export",
  fields=_FIELDS,
  needs=(("handle",), ("title",)),
  detects=_detects,
  read_row=_read_row,
  one_count=True,
)
