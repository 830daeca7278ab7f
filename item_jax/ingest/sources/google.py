"""Reads product feeds of Google's Merchant Center: text (TSV, CSV) and XML.

Feeds for Meta's and Microsoft's catalogues have the same form. A row is a
variant: `item_group_id` names its product, where it has one.
"""

import itertools
import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from item_jax.errors import UserError
from item_jax.ingest.sources.cells import plain, text
from item_jax.ingest.sources.items import Item
from item_jax.ingest.sources.source import Source, spell

_FIELDS = {
  field: (field,)
  for field in (
    "id",
    "title",
    "image_link",
    "additional_image_link",
    "item_group_id",
    "product_type",
    "google_product_category",
  )
}
_MARKS = {
  "link",
  "price",
  "availability",
  "condition",
  "brand",
  "gtin",
  "item_group_id",
  "additional_image_link",
  "product_type",
  "google_product_category",
}
_BLOCK = 1 << 16  # bytes of XML parsed at once
_LONGEST = 100_000  # characters of a value; more is none of those wanted
_ROOTS = ("rss", "feed", "channel", "RDF")
_GOOGLE = "http://base.google.com/"


def _detects(names):
  names = set(map(spell, names))
  return names >= {"id", "title", "image_link"} and bool(names & _MARKS)


def _read_row(row, cells, categories):
  own = cells.text("id")
  group = cells.text("item_group_id")
  images = [
    image
    for field in ("image_link", "additional_image_link")
    for image in cells.entries(field)
  ]
  # The shop's own categories first: Google's may be a mere number.
  category = categories.choose(
    _split_types(cells.value("product_type"))
  ) or categories.choose([cells.text("google_product_category")])
  yield Item(
    row,
    own,
    group or own,
    list(dict.fromkeys(images)),
    plain(cells.text("title")),
    category,
    is_variant=bool(group),
  )


def _split_types(value):
  """Splits product_type into paths at commas, which names may hold as well.

  Google wants no blank after a separating comma, so a comma with a blank is
  part of a name, unless there are whole paths on both of its sides.
  """
  paths = []
  for cell in map(text, value if isinstance(value, list) else [value]):
    parts = cell.split(",")
    if not all(">" in plain(part) for part in parts):
      parts = re.split(r",(?!\s)", cell)
    paths += [part.strip().strip('"') for part in parts]
  return paths


SOURCE = Source(
  name="google",
  called="a feed of Google's Merchant Center",
  fields=_FIELDS,
  needs=(("id",), ("title",), ("image_link",)),
  detects=_detects,
  read_row=_read_row,
)


def read_xml(file: BinaryIO, name: str) -> tuple[list[str], Iterator[dict]]:
  """Opens a feed as XML, RSS 2.0 or Atom, in constant memory.

  Args:
    file: the open file.
    name: its name in errors.

  Returns:
    The names of columns, and an iterator of each item's {column: texts}.

  Raises:
    UserError: it is no such XML, or has no item; later, where it is broken,
      because nothing after that can be read. A DOCTYPE is refused: it can
      define entities that expand without end.
  """
  items = _parse(file, name)
  first = next(items, None)
  if first is None:
    raise UserError(f"{name} is XML without an <item> or <entry>")
  return list(_FIELDS), itertools.chain([first], items)


def _parse(file, name):
  feed = _Feed(name)
  parser = expat.ParserCreate(namespace_separator=" ")
  parser.buffer_text = True
  parser.StartElementHandler = feed.start
  parser.EndElementHandler = feed.end
  parser.CharacterDataHandler = feed.add
  parser.StartDoctypeDeclHandler = feed.refuse
  try:
    while block := file.read(_BLOCK):
      parser.Parse(block)
      yield from feed.take()
    parser.Parse(b"", True)
    yield from feed.take()
  except expat.ExpatError as error:
    raise UserError(f"{name} is no whole XML file: {error}") from error


class _Feed:
  """Collects the values of a feed's items from the events of a parser."""

  def __init__(self, name):
    self._name = name
    self._depth = 0
    self._item = 0  # depth of the item we are in; 0 outside
    self._field = ""  # that we are in
    self._texts: list[str] = []
    self._room = 0
    self._values: dict[str, list[str]] = {}
    self._done: list[dict] = []

  def start(self, tag, _):
    # Of a namespace only whether it is Google's matters, not its prefix.
    space, _, tag = tag.rpartition(" ")
    self._depth += 1
    if self._depth == 1 and tag not in _ROOTS:
      raise UserError(
        f"{self._name} is XML of another kind: it begins with <{tag}>, a feed"
        " with <rss> or <feed>"
      )
    if not self._item and tag in ("item", "entry"):
      self._item = self._depth
      self._values = {}
    elif self._item and self._depth == self._item + 1:
      # g:title is meant for Google, title for readers of news.
      prefix = "g:" if space.startswith(_GOOGLE) else ""
      self._field = prefix + tag if spell(tag) in _FIELDS else ""
      self._texts = []
      self._room = _LONGEST

  def add(self, data):
    if self._field and self._room > 0:
      self._texts.append(data)
      self._room -= len(data)

  def end(self, _):
    if self._field and self._depth == self._item + 1:
      value = "".join(self._texts).strip()
      if value:
        self._values.setdefault(self._field, []).append(value)
      self._field = ""
    elif self._depth == self._item:
      # Google's own after the others: they take their place.
      tags = sorted(self._values, key=lambda tag: tag.startswith("g:"))
      self._done.append({spell(tag): self._values[tag] for tag in tags})
      self._item = 0
    self._depth -= 1

  def refuse(self, *_):
    raise UserError(f"{self._name} has a DOCTYPE, which a feed has not: no XML")

  def take(self):
    done, self._done = self._done, []
    return done
