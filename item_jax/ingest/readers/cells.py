"""Converts the cells of a table to text, the same for every file format.

CSV, JSON lines and Parquet give the same value in different types: 12, 12.0,
"12.0", Decimal("12.00"). Ids must match in spite of that, so each value has
exactly one text.
"""

import datetime
import decimal
import json
import math
import numbers
import os
import re
import unicodedata
import uuid
from typing import Any

from item_jax.errors import UserError

MAX_CHARACTERS = 10_000  # of any cell
_PATH = 4_096  # bytes at most of a path that comes as bytes
# What programs write for a missing value: pandas, numpy, R, SQL, Excel, JSON
# cast to text. Compared without regard to case. `--missing` takes other words.
MISSING = (
  *("nan", "-nan", "<na>", "na", "n/a", "n.a.", "#na", "#n/a", "#n/a n/a"),
  *("none", "null", "(null)", "nil", "nat", "\\n", "1.#qnan", "1.#ind"),
  *("#ref!", "#value!", "#name?", "#null!", "#div/0!"),
  *("-", "\u2013", "\u2014"),
)
NO_VALUE = ("NAType", "NaTType", "MaskedConstant")  # of pandas and numpy
# A longer one is written with an exponent; 007.0 is not the text of a number.
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,15})\.0+")
# As spreadsheets show a long number (8.9E+12, 8,9E+12) and pandas writes a
# large float; not 5E10, which may be a part's number.
_SCIENTIFIC = re.compile(r"[+-]?(\d([.,]\d+)?[eE]\+\d+|\d[.,]\d+[eE]\d\d+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*")
_NANOSECONDS = re.compile(r"\.\d{6}\d*[1-9]")
# A list as Python, numpy and JSON show it; of lists within one the first.
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|None|nan"""
_LIST = re.compile(
  rf"[\[(]+\s*((?:{_QUOTED})(?:[\s,]+(?:{_QUOTED}))*),?\s*[\])]"
)
# Letters and signs that show nothing: fillers of Hangul, Braille without a dot,
# and what stands for a byte that could not be read.
_BLANK = "\u115f\u1160\u3164\uffa0\u2800\ufffd"
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
# From these values on, a float may be another whole number, rounded.
_EXACT = {
  "float": 2**53,
  "float64": 2**53,
  "float32": 2**24,
  "float16": 2**11,
}


class LossyNumber(UserError):  # noqa: N818 - data, not a fault
  """An id is a number that has lost digits; several may have become equal."""


def is_absent(value: Any) -> bool:
  """Whether a cell holds nothing; an array never does."""
  if isinstance(value, str):
    return not value
  return value is None or type(value).__name__ in NO_VALUE


def to_text(value: Any) -> str:
  """Converts a cell to text; "" where it is missing.

  Whole floats lose their ".0" and midnight becomes a date, also in texts:
  another file of the same table may hold the number or the time itself. So
  does a line end within it become "\\n", as a CSV is read.

  Raises:
    ValueError: it has no text, or one that cannot be stored; the message
      continues the column's name ("is no text: dict").
  """
  if is_absent(value):
    return ""
  text = value.strip() if isinstance(value, str) else _spell(value)
  if len(text) > MAX_CHARACTERS:
    raise ValueError(
      f"is longer than {MAX_CHARACTERS:,} characters: {len(text):,}"
    )
  if not text.isascii():
    try:
      text.encode()
    except UnicodeEncodeError:
      raise ValueError("is not valid UTF-8") from None
  if "\0" in text:
    raise ValueError("holds a NUL byte")
  if "\r" in text:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
  # Cheap checks first: this is done for every cell of a catalogue.
  if text[-1:] == "0" and "." in text and _WHOLE.fullmatch(text):
    return str(int(text.partition(".")[0]))
  if text[4:5] == "-" and _TIME.fullmatch(text):
    return _spell_time(text)
  return text


def _spell(value) -> str:
  """Converts a typed value to text as CSV writers do."""
  if isinstance(value, bytes):
    return value.decode("utf-8", "surrogateescape").strip()
  if isinstance(value, bool):
    raise ValueError("is no text: bool")
  if isinstance(value, numbers.Integral):  # numpy's too
    return str(int(value))
  if type(value).__name__ in _EXACT:
    # Via text: numpy's float32 of 0.1 is 0.10000000149 as a double.
    return "" if math.isnan(value) else str(float(str(value)))
  if isinstance(value, decimal.Decimal):
    return "" if value.is_nan() else f"{value:f}"
  if isinstance(value, datetime.datetime):
    return value.isoformat(sep=" ")
  if isinstance(value, (datetime.date, uuid.UUID)):
    return str(value)
  raise ValueError(f"is no text: {type(value).__name__}")


def _spell_time(text):
  """Normalizes a time; midnight becomes a date."""
  if _NANOSECONDS.search(text):  # Python has none: two times would be one
    return text
  try:
    time = datetime.datetime.fromisoformat(text)
  except ValueError:
    return text
  if time.tzinfo is not None:
    time = time.astimezone(datetime.UTC)
  elif time.time() == datetime.time():
    return time.date().isoformat()
  return time.isoformat(sep=" ")


def check_id(text: str, value: Any) -> None:
  """Refuses an id that is a number which has lost digits.

  Args:
    text: `to_text(value)`.
    value: the cell itself, with its type.

  Raises:
    LossyNumber: the message continues the column's name.
  """
  if ("e" in text or "E" in text) and _SCIENTIFIC.fullmatch(text):
    raise LossyNumber(
      f"holds {text}: a spreadsheet or a float has rounded it, and ids that"
      " were different may have become one"
    )
  kind = type(value).__name__
  if isinstance(value, str):
    if ".0" not in value or not _WHOLE.fullmatch(value.strip()):
      return
    kind = "float"
  limit = _EXACT.get(kind)
  if limit and text and limit <= abs(float(text)):
    raise LossyNumber(
      f"holds the {kind} {text}: from {limit:,} on floats do not hold every"
      " whole number, and ids that were different may have become one; store"
      " ids as text or integers"
    )


def to_path(value: Any, separator: str = ">") -> str:
  """Converts a category to a path, as in "Home > Lamps"; "" where missing.

  Args:
    value: a text with separators, or a list of levels, also one written as text
      ("['Home', 'Lamps']"). Of a list of paths the first is taken.

  Raises:
    ValueError: as `to_text`.
  """
  value = _as_list(value)
  if not isinstance(value, (list, tuple)):
    text = to_text(value)
    levels = _parse_list(text) if text[:1] in ("[", "(") else None
    if levels is None:
      return " > ".join(filter(None, map(spaced, text.split(separator))))
    value = levels
  if value and isinstance(first := _as_list(value[0]), (list, tuple)):
    value = first
  return " > ".join(filter(None, (spaced(to_text(level)) for level in value)))


def _as_list(value: Any) -> Any:
  """Converts an array of numpy, as pandas reads a list of Parquet."""
  return value.tolist() if type(value).__name__ == "ndarray" else value


def _parse_list(text) -> list | None:
  """Parses a text in brackets as a list of levels; None where it is none."""
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    found = _LIST.match(text)
    if not found or text[-1] not in ")]":
      return None
    levels = re.findall(_QUOTED, found[1])
    return [_unescaped(level[1:-1]) for level in levels if level[0] in "'\""]
  return value if isinstance(value, list) else None


def _unescaped(text: str) -> str:
  """Decodes the text between quotes as Python does."""

  def sign(found: re.Match[str]) -> str:
    code: str = found[1]
    if len(code) > 1:
      return chr(int(code[1:], 16))
    return _ESCAPED.get(code, code)

  return _ESCAPE.sub(sign, text)


def to_image(value: Any) -> Any:
  """Converts an image's cell to a path, or to the file's bytes.

  Data sets of Hugging Face hold {"bytes": ..., "path": ...}. Other bytes may be
  a path too, where a writer has no type for text: no image file is valid UTF-8
  without a NUL byte.

  Raises:
    ValueError: it holds pixels; the message continues the column's name.
  """
  pixels = hasattr(value, "__array_interface__")  # numpy's numbers have it too
  if pixels and getattr(value, "shape", None) != ():
    kind = type(value).__name__
    raise ValueError(f"is no path, and no bytes of an image file: {kind}")
  if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
    if data := value.get("bytes"):
      return data
    value = value.get("path")
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if isinstance(value, bytes) and len(value) <= _PATH and b"\0" not in value:
    try:
      return value.decode()
    except UnicodeDecodeError:
      pass
  return value


def spaced(text: str) -> str:
  """Joins the words of a text by single blanks, as texts are stored.

  "" where none of its characters shows anything: there is nothing to read.
  """
  return " ".join(text.split()) if any(map(_shows, text)) else ""


def _shows(character: str) -> bool:
  kind = unicodedata.category(character)
  # Cn may be an emoji that is newer than Python.
  unseen = kind[0] in "MZ" or (kind[0] == "C" and kind != "Cn")
  return not unseen and character not in _BLANK
