"""Reads the product export (CSV) of Magento 2, Adobe Commerce and Mage-OS.

A configurable product names its variants in `configurable_variations`, and
comes after them. Category paths have slashes ("Default Category/Gear/Bags"),
with commas between them; images start from `pub/media/catalog/product`.
"""

import re

from item_jax.ingest.sources.cells import plain
from item_jax.ingest.sources.items import Item
from item_jax.ingest.sources.source import Source

_FIELDS = {
  "sku": ("sku",),
  "store": ("store_view_code",),
  "name": ("name",),
  "categories": ("categories",),
  "image": ("base_image", "image"),
  "small_image": ("small_image",),
  "thumbnail": ("thumbnail_image", "thumbnail"),
  "additional": ("additional_images",),
  "variants": ("configurable_variations",),
}
_MARKS = {
  "base_image",
  "additional_images",
  "attribute_set_code",
  "store_view_code",
  "configurable_variations",
}
_ROOT = "Default Category"  # the root of every menu; not about the product
_MEDIA = re.compile(r"^/?(pub/)?media/catalog/product(?=/)")
_VARIANT = re.compile(r"(?:^|[|,])\s*sku=([^,|]+)")


def _detects(names):
  return names >= {"sku", "name"} and bool(names & _MARKS)


def _read_row(row, cells, categories):
  sku = cells.text("sku")
  # A row of a store's view repeats the product in another language.
  is_view = bool(cells.text("store"))
  yield Item(
    row,
    sku,
    sku,
    _images(cells),
    plain(cells.text("name")),
    categories.choose(_split_paths(cells, categories.separator)),
    is_variant=is_view,
    also=[
      variant.strip()
      for variant in _VARIANT.findall(cells.text("variants"))
      if variant.strip() != sku
    ],
  )


def _images(cells):
  """Lists the gallery with the main image, or its substitute, first."""
  main = next(
    filter(
      None,
      (_named(cells.text(f)) for f in ("image", "small_image", "thumbnail")),
    ),
    "",
  )
  gallery = map(_named, cells.entries("additional", separators=",|"))
  return list(dict.fromkeys(filter(None, [main, *gallery])))


def _named(image):
  """Returns the path below the media folder; "" for Magento's "none"."""
  if "://" in image:
    return image
  image = _MEDIA.sub("", image).lstrip("/")
  return "" if image == "no_selection" else image


def _split_paths(cells, separator):
  """Splits a cell into paths, without the root of all categories.

  Magento joins paths with a comma and does not escape commas in names; people
  also write a blank after the comma. So a part after a comma and a blank is a
  path if it begins with the first path's root, else the rest of a name.
  """
  between = ",|".replace(separator, "")
  first, *others = re.split(f"[{between}]", cells.text("categories"))
  root = first.partition(separator)[0].strip()
  paths = [first]
  for part in others:
    if part[:1] == " " and part.partition(separator)[0].strip() != root:
      paths[-1] += f",{part}"
    else:
      paths.append(part)
  top = re.compile(rf"^\s*{_ROOT}\s*({re.escape(separator)}|$)")
  return [top.sub("", path) for path in paths]


SOURCE = Source(
  name="magento",
  called="Magento's product export",
  fields=_FIELDS,
  needs=(("sku",), ("name",)),
  detects=_detects,
  read_row=_read_row,
  separator="/",
)
