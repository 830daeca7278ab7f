"""Finds other spellings of an image's name, and explains why none is a file.

Tables come from web shops, spreadsheets and other systems, which spell the
names of files in ways of their own.
"""

import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator

MISSING = "the image file is not there"
_LONGEST = 200  # characters of a name in a message
_LONGEST_PATH = 1024  # characters that are rewritten
_FILE = re.compile("file:(?://(?:localhost)?(?=/))?", re.IGNORECASE)
_WEB = re.compile(
  r"(?!file:)[a-z][a-z0-9+.-]*://|data:|//[^/]+\.[^/]+/|www\.[^/]+/",
  re.IGNORECASE,
)
# Of a JPEG, a PNG or a WebP: their first bytes in base64.
_BASE64 = re.compile(
  r"(data:image/[^,]*;base64,|/9j/|iVBORw0KGgo|UklGR)[\w+/=\s-]{40}"
)
_SEVERAL = re.compile(
  r"^\[|\.(jpe?g|jfif|png|webp|gif|avif|tiff?|bmp|heic)[\"']?\s*[,;|]\s*\S",
  re.IGNORECASE,
)


def other_spellings(name: str) -> Iterator[tuple[str, str]]:
  """Yields further names to try, each with what was done to the name.

  They are always tried in the same order: each of `_REWRITINGS` that changes
  the name, then two of them one after the other, and so on. A web address has
  no other spelling, because it is never the name of a file; nor has a name that
  is longer than a path can be.

  A spelling may lead out of the image folder where the name did not: the caller
  must check it.
  """
  if is_address(name) or len(name) > _LONGEST_PATH:
    return
  seen = {name, ""}
  found: list[tuple[str, tuple[str, ...], int]] = [(name, (), 0)]
  for spelling, done, begin in found:  # which grows in the loop
    if done:
      yield spelling, " and ".join(done)
    for index in range(begin, len(_REWRITINGS)):
      doing, rewrite = _REWRITINGS[index]
      rewritten = rewrite(spelling)
      if rewritten not in seen and "\0" not in rewritten:
        seen.add(rewritten)
        found.append((rewritten, (*done, doing), index + 1))


def is_address(name: str) -> bool:
  """Whether it is an address of the web or of a store, or a data: address."""
  return bool(_WEB.match(name))


def is_image_as_text(name: str) -> bool:
  """Whether it is no name but the image itself, in base64."""
  return bool(_BASE64.match(name))


def describe_missing(name: str) -> str:
  """Explains that a file is not there, and what in its name may be why."""
  signs = [sign for sign, shows in _SIGNS if shows(name)]
  kind = MISSING
  if signs:
    kind += f", its name {' and '.join(signs)}"
  return f"{kind}: {shorten(name)}"


def shorten(name: str | bytes) -> str:
  """Shortens a name for a message; an image in the table has no name."""
  if isinstance(name, bytes):
    return "the one in the table"
  # A data: address holds a whole image.
  return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _unquote(name):
  quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
  return name[1:-1].strip() if quoted else name


def _decode(name):
  try:
    return urllib.parse.unquote(name, errors="strict")
  except UnicodeDecodeError:  # written by a system older than UTF-8
    return urllib.parse.unquote(name, encoding="latin-1")


def _is_local(test):
  return lambda name: not is_address(name) and test(name)


# In this order, so that each can follow those above it: an address is taken
# apart as a browser does, and a path remains.
_REWRITINGS = (
  ("without quotes", _unquote),
  ("entities decoded", html.unescape),
  ("without file:", lambda name: _FILE.sub("", name, count=1)),
  ("without #...", lambda name: name.partition("#")[0]),
  ("without ?...", lambda name: name.partition("?")[0]),
  ("backslashes turned", lambda name: name.replace("\\", "/")),
  ("+ for blanks", lambda name: name.replace("+", " ")),
  ("percent-decoded", _decode),
  ("percent-decoded twice", _decode),
  ("below the image folder", lambda name: name.lstrip("/")),
  ("letters composed", lambda name: unicodedata.normalize("NFC", name)),
  ("letters decomposed", lambda name: unicodedata.normalize("NFD", name)),
)
_SIGNS = (
  ("is a list", _SEVERAL.search),
  ("is the image itself in base64, not its bytes", is_image_as_text),
  (
    "is an address and those are not fetched",
    lambda name: is_address(name) and not is_image_as_text(name),
  ),
  ("is a file:// address", _FILE.match),
  ("has backslashes", _is_local(lambda name: "\\" in name)),
  ("looks percent-encoded", _is_local(re.compile("%[0-9a-fA-F]{2}").search)),
)
