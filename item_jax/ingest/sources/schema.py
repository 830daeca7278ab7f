"""Reads schema.org's products: JSON-LD, as one value or one a line.

A ProductGroup holds its variants in `hasVariant`, or they name it in
`isVariantOf` or `inProductGroupWithID`.
"""

import json
import re
from typing import Any, BinaryIO

from item_jax.errors import UserError
from item_jax.ingest.sources.cells import plain, text
from item_jax.ingest.sources.items import Item, Merged
from item_jax.ingest.sources.source import Source

MAX_BYTES = 256_000_000  # of a JSON file, which is read into memory
_FIELDS = {
  field: (field,)
  for field in (
    "@graph",
    "@type",
    "@id",
    "sku",
    "productID",
    "gtin",
    "gtin13",
    "mpn",
    "url",
    "name",
    "image",
    "category",
    "hasVariant",
    "isVariantOf",
    "inProductGroupWithID",
    "productGroupID",
    "itemListElement",
    "mainEntity",
  )
}
_PRODUCTS = {"Product", "ProductModel", "IndividualProduct", "SomeProducts"}
_IDS = ("sku", "productID", "gtin13", "gtin", "mpn", "@id", "url")
_GROUP_IDS = ("productGroupID", "sku", "productID", "@id", "url", "name")
_DEPTH = 8  # of lists within pages within graphs


def _detects(names):
  return bool(names & {"@type", "@graph"})


def _read_row(row, cells, categories):
  node = {field: cells.value(field) for field in _FIELDS}
  yield from _read_node(row, node, categories, _DEPTH)


def _read_node(row, node, categories, depth):
  """Yields the items of an object, or of the objects inside it."""
  kinds = {re.split("[/:]", kind)[-1] for kind in _texts(node.get("@type"))}
  if "ProductGroup" in kinds:
    yield from _read_group(row, node, categories)
  elif kinds & _PRODUCTS:
    group = _named(node.get("isVariantOf"), _GROUP_IDS) or _named(
      node.get("inProductGroupWithID"), _GROUP_IDS
    )
    yield _item(row, node, categories, group)
  else:
    inner = []
    for field in ("@graph", "mainEntity", "itemListElement", "item"):
      inner += [n for n in _list(node.get(field)) if isinstance(n, dict)]
    if not inner or not depth:
      kind = ", ".join(sorted(kinds)) or "no @type"
      yield Merged(row, f"no product: {kind}")
    for child in inner if depth else ():
      yield from _read_node(row, child, categories, depth - 1)


def _read_group(row, node, categories):
  group = _named(node, _GROUP_IDS)
  own = _item(row, node, categories, "")
  variants = [v for v in _list(node.get("hasVariant")) if isinstance(v, dict)]
  if own.title or own.images or not variants:
    # A variant may refer to it by another of its ids, as {"@id": "#coat"}.
    names = [name for field in _GROUP_IDS for name in _texts(node.get(field))]
    also = [name for name in dict.fromkeys(names) if name != group]
    yield own._replace(listing_id=group, product_id=group, also=also)
  for variant in variants:
    yield _item(row, variant, categories, group or f"group-{row}")


def _item(row, node, categories, group):
  own = _named(node, _IDS)
  names = _texts(node.get("name"))
  return Item(
    row,
    own,
    group or own,
    _images(node),
    plain(names[0]) if names else "",
    categories.choose(_texts(node.get("category"))),
    is_variant=bool(group),
  )


def _named(value, ids):
  """Returns the id of an object, or of the first of several; or a text."""
  for entry in _list(value):
    if not isinstance(entry, dict):
      return text(entry)
    for field in ids:
      if found := _texts(entry.get(field)):
        return found[0]
  return ""


def _texts(value) -> list[str]:
  """Returns the texts of a value, of a list, or of objects with a text."""
  found = []
  for entry in _list(value):
    if isinstance(entry, dict):
      entry = entry.get("@value") or entry.get("name") or entry.get("@id")
    if isinstance(entry, (dict, list)):
      continue
    found.append(text(entry))
  return list(filter(None, found))


def _images(node):
  """Lists the images, each once; JSON has lists, so a comma is of a name."""
  images = [text(_address(image)) for image in _list(node.get("image"))]
  return list(dict.fromkeys(filter(None, images)))


def _address(image):
  """Returns the address of an image, or of an ImageObject."""
  if isinstance(image, dict):
    fields = ("contentUrl", "url", "@id")
    image = next(filter(None, map(image.get, fields)), None)
    image = image[0] if isinstance(image, list) and image else image
  return None if isinstance(image, dict) else image


def _list(value) -> list[Any]:
  if value is None:
    return []
  return value if isinstance(value, list) else [value]


SOURCE = Source(
  name="schema",
  called="schema.org's products (JSON-LD)",
  fields=_FIELDS,
  needs=(("@type", "@graph"),),
  detects=_detects,
  read_row=_read_row,
)


def read_json(file: BinaryIO, name: str) -> tuple[list[str], list[dict | str]]:
  """Reads a JSON file: an array of objects, or one object, maybe an @graph.

  Args:
    file: the open file.
    name: its name in errors.

  Returns:
    The names of all columns in their order, and a row for each entry: the
    object, or the reason why it is none.

  Raises:
    UserError: it is too large, no JSON, or neither object nor array.
  """
  data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise UserError(
      f"{name} is larger than {MAX_BYTES // 10**6} MB, more than is read as one"
      " JSON value: write an object a line (.jsonl)"
    )
  try:
    value = json.loads(data.decode("utf-8-sig", "surrogateescape"))
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{name} is no JSON: {error}; with an object a line it is named .jsonl"
    ) from error
  if isinstance(value, dict):
    graph = value.get("@graph")
    value = graph if isinstance(graph, list) else [value]
  if not isinstance(value, list):
    raise UserError(f"{name} is JSON but neither an array nor an object")
  names: dict[str, None] = {}
  rows: list[dict | str] = []
  for entry in value:
    if isinstance(entry, dict):
      names.update(dict.fromkeys(entry))
    else:
      entry = f"no object: {type(entry).__name__}"
    rows.append(entry)
  if not names:
    raise UserError(f"{name} is JSON without an object")
  return list(names), rows
