"""Finds other spellings of an image's name, and says why none led to a file.

Tables come from web shops, spreadsheets and other systems, and write the
names of files as those do.
"""

import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator

_LONGEST = 200  # characters of a name in a message
_LONGEST_PATH = 1024  # characters that are rewritten
_FILE = re.compile("file:(?://(?:localhost)?(?=/))?", re.IGNORECASE)
_WEB = re.compile(
  r"(?!file:)[a-z][a-z0-9+.-]*://|data:|//[^/]+\.[^/]+/|www\.[^/]+/",
  re.IGNORECASE,
)
_SEVERAL = re.compile(
  r"^\[|\.(jpe?g|jfif|png|webp|gif|avif|tiff?|bmp|heic)[\"']?\s*[,;|]\s*\S",
  re.IGNORECASE,
)


def other_spellings(name: str) -> Iterator[tuple[str, str]]:
  """Yields further names to try, each with what was done to the name.

  What is tried is fixed: each of `_REWRITINGS` that changes the name, in
  their order, then two of them one after the other, and so on. An address of
  the web has no other spelling: it never is the name of a file. Nor has a name
  that is longer than paths are.

  A spelling may lead out of the image folder where the name did not: whoever
  uses it must look.
  """
  if is_address(name) or len(name) > _LONGEST_PATH:
    return
  seen = {name, ""}
  found = [(name, (), 0)]
  for spelling, done, begin in found:  # which grows meanwhile
    if done:
      yield spelling, " and ".join(done)
    for place in range(begin, len(_REWRITINGS)):
      doing, rewrite = _REWRITINGS[place]
      rewritten = rewrite(spelling)
      if rewritten not in seen and "\0" not in rewritten:
        seen.add(rewritten)
        found.append((rewritten, (*done, doing), place + 1))


def is_address(name: str) -> bool:
  """Whether it is an address of the web or a store, or an image in one."""
  return bool(_WEB.match(name))


def describe_missing(name: str) -> str:
  """Says that a file is not there, and what in its name may be the reason."""
  signs = [sign for sign, shows in _SIGNS if shows(name)]
  kind = "the image file is not there"
  if signs:
    kind += f", its name {' and '.join(signs)}"
  return f"{kind}: {shorten(name)}"


def shorten(name: str | bytes) -> str:
  """A name for a message; of an image in the table there is none."""
  if isinstance(name, bytes):
    return "the one in the table"
  # An address may hold a whole image.
  return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _unquote(name):
  quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
  return name[1:-1].strip() if quoted else name


def _decode(name):
  try:
    return urllib.parse.unquote(name, errors="strict")
  except UnicodeDecodeError:  # by a system from before UTF-8
    return urllib.parse.unquote(name, encoding="latin-1")


def _is_local(test):
  return lambda name: not is_address(name) and test(name)


# Each is of use after those above it: an address is taken apart as a browser
# does it, and what remains is a path.
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
  ("is an address and those are not fetched", is_address),
  ("is a file:// address", _FILE.match),
  ("has backslashes", _is_local(lambda name: "\\" in name)),
  ("looks percent-encoded", _is_local(re.compile("%[0-9a-fA-F]{2}").search)),
)
