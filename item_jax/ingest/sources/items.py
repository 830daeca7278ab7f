"""Turns the rows of a shop's export into listings of one image each.

A shop writes one product over several rows, in an order of its own. So the rows
are read twice, the second time from a temporary file, and memory holds only the
names of products and hashes of images: about a kilobyte a product.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Item(NamedTuple):
  """A product, or a variant of one, as one row describes it."""

  row: int  # 1 is the first after the header
  listing_id: str  # "" where the shop gives none
  product_id: str
  images: list[str]  # each once
  title: str
  category: str
  # Whether another row describes the product: this one is a size, a colour or
  # a further image, and takes the values that it lacks from there.
  is_variant: bool = False
  # Other names of the product: rows with one of them are its variants.
  also: list[str] = []


class Listing(NamedTuple):
  """A new listing: `fields` has the texts for a catalogue's columns."""

  row: int
  fields: dict[str, str]


class Merged(NamedTuple):
  """A row that adds no listing, and why."""

  row: int
  reason: str


class Bad(NamedTuple):
  """A row that cannot be used, and why."""

  row: int
  reason: str


_SAME = "all of it is listed already"
_NO_IMAGE = "a variant without an image of its own"


def list_products(
  items: Iterable[Item | Merged | Bad], *, one_count: bool
) -> Iterator[Listing | Merged | Bad]:
  """Yields a listing for each image of each product, in the rows' order.

  An image is listed once for a product; an image in the product's own row
  belongs to that row, and to no variant. A product without an image is a
  listing of its title; a variant without one is merged. Every row is yielded at
  least once.

  Args:
    items: of all rows.
    one_count: whether rows of one listing_id share one count (`lamp`, `lamp#2`,
      ...), or each begins anew, so that duplicate ids are noticed.
  """
  with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
    family = _Family()
    for item in _name_all(items):
      if isinstance(item, Item):
        family.add(item)
      file.write(json.dumps((type(item).__name__, *item)) + "\n")
    file.seek(0)
    counts: dict[str, int] = {}
    row = 0
    for line in file:
      kind, *values = json.loads(line)
      if kind != "Item":
        yield (Merged if kind == "Merged" else Bad)(*values)
        continue
      item = Item(*values)
      if item.row != row and not one_count:
        counts.clear()
      row = item.row
      yield from family.list_item(item, counts)


def _name_all(items):
  """Gives ids to items without, in the way of a plain table's rows."""
  row = count = 0
  for item in items:
    count = count + 1 if item.row == row else 1
    row = item.row
    if isinstance(item, Item):
      own = item.listing_id or f"row-{row}" + (f".{count}" * (count > 1))
      product = item.product_id or f"listing:{own}"
      item = item._replace(listing_id=own, product_id=product)
    yield item


class _Family:
  """Knows all products: their names, titles and images."""

  def __init__(self):
    self._also: dict[str, str] = {}  # another name: the product's own
    self._heads: dict[str, tuple[str, str]] = {}  # title and category
    self._listed: set[str] = set()  # products that have a listing or will
    # Hashes of what is listed: one takes an eighth of the text's memory.
    self._claimed: set[int] = set()
    self._pictured: set[int] = set()

  def add(self, item: Item) -> None:
    """Notes what variants need to know of an item, before any is listed."""
    for name in item.also:
      self._also.setdefault(name, item.product_id)
    product = item.product_id
    if item.images:
      self._listed.add(product)
      self._pictured.add(hash((product, item.title)))
    if not item.is_variant and (item.title or item.images):
      self._listed.add(product)
      self._heads.setdefault(product, (item.title, item.category))
      self._claimed.update(hash((product, image)) for image in item.images)

  def list_item(
    self, item: Item, counts: dict[str, int]
  ) -> Iterator[Listing | Merged | Bad]:
    """Yields the listings of an item, or the reason why it has none."""
    if item.product_id in self._also:
      item = item._replace(
        product_id=self._also[item.product_id], is_variant=True
      )
    if item.is_variant:
      title, category = self._heads.get(item.product_id, ("", ""))
      item = item._replace(
        title=item.title or title, category=item.category or category
      )
    new = self._claim(item)
    if isinstance(new, str):
      yield (Bad if new == "neither title nor image" else Merged)(item.row, new)
      return
    own = item.listing_id
    for image in new:
      count = counts[own] = counts.get(own, 0) + 1
      fields = {
        "listing_id": own if count == 1 else f"{own}#{count}",
        "product_id": item.product_id,
        "image": image,
        "title": item.title,
        "category": item.category,
      }
      yield Listing(item.row, fields)

  def _claim(self, item) -> list[str] | str:
    """Returns the images to list ("" for none), or why there is nothing."""
    product, title = item.product_id, item.title
    if not item.images:
      if item.is_variant and product in self._listed:
        return _NO_IMAGE
      if not title:
        return "neither title nor image"
      if self._pictured & {hash((product, t)) for t in (title, "")}:
        return _SAME
    # A product's row does not repeat another one with a different title.
    own = () if item.is_variant else (title,)
    new = []
    for image in item.images or [""]:
      key = hash((product, image, *own))
      if key not in self._claimed:
        self._claimed.add(key)
        new.append(image)
    return new or _SAME
