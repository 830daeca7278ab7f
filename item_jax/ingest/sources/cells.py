"""Reads the cells of shops' exports: HTML, lists and categories."""

import html
import re
from collections import Counter
from collections.abc import Iterable
from html.entities import html5
from typing import Any, NamedTuple

from item_jax.ingest.readers.cells import MAX_CHARACTERS, check_id, to_text

_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]\w{1,31});")
_TIMES = 3  # that a text was escaped at most, once by each program on the way
# Only what is known is a tag: "Size <M>" and "3 < 4 > 2" are text.
_INLINE = "a|abbr|b|big|code|del|em|font|i|ins|mark|q|small|span|strong|sub"
_BLOCK = (
  "address|article|blockquote|br|center|dd|div|dl|dt|footer|h[1-6]|header|hr"
  "|img|li|nav|ol|p|pre|section|table|tbody|td|th|thead|tr|ul|wbr"
)
_HIDDEN = re.compile(
  r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(
  rf"</?(?:(?P<inline>{_INLINE}|sup|u)|{_BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE
)
# Soft hyphen, zero-width space, marks of direction, word joiner, byte order
# mark. Not the zero-width joiners: they are part of Persian, Hindi and emoji.
_UNSEEN = dict.fromkeys(
  [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0xFEFF]
)
# What shops call the category of what has none.
_NO_CATEGORY = {"uncategorized", "uncategorised"}


def text(value: Any) -> str:
  """Converts a cell to text; "" where it is missing.

  Raises:
    ValueError: it has no text; the message continues the column's name.
  """
  if isinstance(value, bytes):
    value = value.decode("utf-8", "surrogateescape")
  if isinstance(value, str):
    return value.strip()  # its length is checked later, entry by entry
  found = to_text(value)
  check_id(found, value)
  return found


def plain(markup: str) -> str:
  """Converts HTML to the text that a visitor of the shop sees.

  Entities are decoded, also those escaped twice ("&amp;amp;"); known HTML tags
  and invisible characters are removed; blanks of all kinds become single ones.
  A text that is too long for a listing stays as it is, and is rejected later.
  """
  if len(markup) > MAX_CHARACTERS:
    return markup
  if "<" in markup:
    markup = _without_tags(markup)
  if "&" in markup:
    for _ in range(_TIMES):
      decoded = _ENTITY.sub(_decode, markup)
      if decoded == markup:
        break
      markup = decoded
    if "<" in markup:
      markup = _without_tags(markup)
  return " ".join(markup.translate(_UNSEEN).split())


def _without_tags(markup):
  markup = _HIDDEN.sub(" ", markup)
  return _TAG.sub(lambda tag: "" if tag["inline"] else " ", markup)


def _decode(entity):
  # html.unescape also reads "&notes;" as a not sign and "es;".
  known = entity[1][0] == "#" or f"{entity[1]};" in html5
  return html.unescape(entity[0]) if known else entity[0]


def split_list(value: Any, separators: str = ",") -> list[str]:
  """Returns the entries of a cell, each once, in their order.

  Args:
    value: text with separators between the entries (`\\,` is a comma in an
      entry), or a list. Addresses (https://...) may hold commas themselves.
    separators: the characters between entries.
  """
  entries = value if isinstance(value, (list, tuple)) else [value]
  between = rf"(?<!\\)[{re.escape(separators)}]"
  found: dict[str, None] = {}
  for cell in map(text, entries):
    address = r"(?=\s*(?:\w+:)?//)" if "://" in cell else ""
    for part in re.split(between + address, cell):
      found[part.replace("\\,", ",").strip()] = None
  found.pop("", None)
  return list(found)


def split_levels(path: str, separator: str) -> list[str]:
  """Splits a category path into its levels, the top one first."""
  if separator == "/":
    # Magento writes a slash of a name as "\/".
    parts = re.split(r"(?<!\\)/", path)
    parts = [plain(part.replace("\\/", "/")) for part in parts]
  else:
    parts = [part.strip() for part in plain(path).split(separator)]
  return list(filter(None, parts))


class Categories(NamedTuple):
  """Chooses the category of a product from the paths in its cell."""

  separator: str  # of levels
  which: str  # "first" or "deepest"
  notes: Counter  # for the summary: what was chosen, and how often

  def choose(self, paths: Iterable[str]) -> str:
    """Chooses the path to store, as in "Home > Lamps"; "" for none."""
    found: list[list[str]] = []
    for path in paths:
      levels = split_levels(path, self.separator)
      if not levels or (len(levels) == 1 and levels[0].lower() in _NO_CATEGORY):
        continue
      if levels not in found:
        found.append(levels)
    if len(found) > 1:
      self.notes[f"cells with several categories: the {self.which} taken"] += 1
    if not found:
      return ""
    chosen = max(found, key=len) if self.which == "deepest" else found[0]
    return " > ".join(chosen)


class Suspects:
  """Counts cells of a plain table that look like a shop's export.

  They are only reported: a plain table is read as it is.
  """

  def __init__(self):
    self.counts = Counter()

  def check(self, *, title: str, category: str, image: str) -> None:
    """Checks the cells of one row; fast, because it is done for every row."""
    if ("&" in title and _ENTITY.search(title)) or (
      "&" in category and _ENTITY.search(category)
    ):
      self.counts["cells with HTML entities, as &amp;"] += 1
    if "<" in title and _TAG.search(title):
      self.counts["titles with HTML tags"] += 1
    if "," in category and category.count(">") > 1:
      parts = category.split(",")
      if all(">" in part for part in parts):
        self.counts["categories that look like a list of paths"] += 1
    if "," in image and len(split_list(image)) > 1 and image.count(".") > 1:
      self.counts["images that look like a list of files"] += 1
