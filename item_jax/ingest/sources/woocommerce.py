"""Reads WooCommerce's product export (CSV) in English.

A row is a product or a variation of one, named in `Parent` by its SKU or as
`id:<ID>`; a cell of images or categories holds several, a comma in a name is
written "\\,".
"""

from item_jax.ingest.sources.cells import plain
from item_jax.ingest.sources.items import Item
from item_jax.ingest.sources.source import Source

_FIELDS = {
  "id": ("ID",),
  "type": ("Type",),
  "sku": ("SKU",),
  "name": ("Name",),
  "categories": ("Categories",),
  "images": ("Images",),
  "parent": ("Parent",),
}
_MARKS = {
  "ID",
  "Type",
  "SKU",
  "Published",
  "Is featured?",
  "Categories",
  "Images",
  "Parent",
  "Regular price",
  "In stock?",
}


def _detects(names):
  lists = names & {"Images", "Categories"}
  return bool("Name" in names and lists and len(names & _MARKS) >= 3)


def _read_row(row, cells, categories):
  number = cells.text("id")
  by_number = f"id:{number}" if number else ""
  own = _unguarded(cells.text("sku")) or by_number
  parent = _unguarded(cells.text("parent"))
  types = cells.entries("type")
  yield Item(
    row,
    own,
    parent or own,
    cells.entries("images"),
    plain(_unguarded(cells.text("name"))),
    categories.choose(cells.entries("categories")),
    is_variant="variation" in types and bool(parent),
    # Variations may refer to it by its number although it has a SKU.
    also=[by_number] if "variable" in types and by_number != own else [],
  )


def _unguarded(value):
  """Removes the quote that keeps spreadsheets from calculating."""
  return value[1:] if value[:2] in ("'=", "'+", "'-", "'@") else value


SOURCE = Source(
  name="woocommerce",
  called="WooCommerce's product export",
  fields=_FIELDS,
  needs=(("name",), ("sku", "id"), ("images", "categories")),
  detects=_detects,
  read_row=_read_row,
)
