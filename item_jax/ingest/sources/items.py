"""Makes listings of the rows of a shop: an image each, its product known.

A shop writes one product over several rows, in an order of its own. So the
rows are looked at twice, from a file aside, and memory holds only what the
products and their images are called: about a kilobyte a product.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Item(NamedTuple):
  """What one row says of a product, or of a variant of one."""

  row: int  # 1 is the first after the header
  listing_id: str  # "" where the shop gives none
  product_id: str
  images: list[str]  # each once
  title: str
  category: str
  # Whether another row describes the product: this one is a size, a colour or
  # a further image, and takes from there what it does not say itself.
  is_variant: bool = False
  # Other names of the product: rows that give one of them are its variants.
  also: list[str] = []


class Listing(NamedTuple):
  """A listing to be: `fields` has texts for columns of a catalogue."""

  row: int
  fields: dict[str, str]


class Merged(NamedTuple):
  """A row that adds nothing of its own, and why."""

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

  An image is listed once a product; one that a product's own row shows is
  its own, and no variant's. What has no image is a listing of its title, a
  variant without one is merged. Every row comes out at least once.

  Args:
    items: of all rows.
    one_count: whether rows of one listing_id go on counting (`lamp`,
      `lamp#2`, ...) or each begins anew, so that one id twice is found out.
  """
  with tempfile.TemporaryFile("w+", encoding="utf-8") as aside:
    family = _Family()
    for item in _name_all(items):
      if isinstance(item, Item):
        family.meet(item)
      aside.write(json.dumps((type(item).__name__, *item)) + "\n")
    aside.seek(0)
    counts: dict[str, int] = {}
    row = 0
    for line in aside:
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
  """Gives ids to what has none, as a plain table's rows get theirs."""
  row = place = 0
  for item in items:
    place = place + 1 if item.row == row else 1
    row = item.row
    if isinstance(item, Item):
      own = item.listing_id or f"row-{row}" + (f".{place}" * (place > 1))
      product = item.product_id or f"listing:{own}"
      item = item._replace(listing_id=own, product_id=product)
    yield item


class _Family:
  """What is known of all products: their names, rows and images."""

  def __init__(self):
    self._also: dict[str, str] = {}  # another name: the product's own
    self._heads: dict[str, tuple[str, str]] = {}  # title and category
    self._listed: set[str] = set()  # products that have a listing or will
    # Hashes of what is listed, for one takes an eighth of the text's memory.
    self._claimed: set[int] = set()
    self._pictured: set[int] = set()

  def meet(self, item: Item) -> None:
    """Notes what variants need to know of an item; of all, before any."""
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
    """Yields what becomes of an item."""
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
    """The images to list ("" stands for none), or why there is nothing."""
    product, title = item.product_id, item.title
    if not item.images:
      if item.is_variant and product in self._listed:
        return _NO_IMAGE
      if not title:
        return "neither title nor image"
      if self._pictured & {hash((product, t)) for t in (title, "")}:
        return _SAME
    # A row of its own is no repetition of another whose title is different.
    own = () if item.is_variant else (title,)
    new = []
    for image in item.images or [""]:
      key = hash((product, image, *own))
      if key not in self._claimed:
        self._claimed.add(key)
        new.append(image)
    return new or _SAME
