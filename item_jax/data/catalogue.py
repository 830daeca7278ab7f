"""A catalogue file in, its rows out: checked ones, and what is wrong else."""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from item_jax.data.tables import read_fields

COLUMNS = ("listing_id", "product_id", "image", "title", "category", "split")
MAX_CHARACTERS = 10_000  # of a title, and of any other field
_CALLED = {  # other names of the three splits
  "training": "train",
  "valid": "val",
  "validation": "val",
  "dev": "val",
}
_SPLIT = re.compile("[a-z][a-z0-9_]{0,29}")  # becomes part of file names


class Row(NamedTuple):
  """One listing of the catalogue, its fields checked and cleaned."""

  number: int  # 1 is the first after the header
  listing_id: str
  product_id: str
  image: str  # a path inside the image folder; "" when missing
  title: str  # "" when missing
  category: str
  split: str  # train, val, test, or the catalogue's own name for another


class Rejected(NamedTuple):
  """A row that cannot be used; `reason` is `kind` or `kind: detail`."""

  number: int
  listing_id: str
  reason: str


def read_rows(
  path: str | os.PathLike, *, columns: dict[str, str] | None = None
) -> Iterator[Row | Rejected]:
  """Reads a catalogue row by row; memory does not grow with its length.

  A row without listing_id is named `row-<number>`, one without product_id is
  a product of its own, and one without split goes where the hash of its
  product sends it (80 % train, 10 % val, 10 % test). Splits may have other
  names than these three, of small letters, digits and underscores.

  Args:
    path: .csv, .tsv, .jsonl (also .ndjson) or .parquet.
    columns: from a name of COLUMNS to the catalogue's own name for it.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: unknown kind of file, or its columns are not as expected.
  """
  table = read_fields(path, known=COLUMNS, columns=columns or {})
  for number, fields in enumerate(table, start=1):
    if isinstance(fields, str):
      yield Rejected(number, "", fields)
    else:
      yield _checked(number, fields)


def _checked(number, fields):
  texts = dict.fromkeys(COLUMNS, "")
  reason = None
  for column, value in fields.items():
    try:
      texts[column] = _text(column, value)
    except ValueError as error:
      reason = reason or str(error)
  listing = texts["listing_id"] or f"row-{number}"
  if reason:
    return Rejected(number, listing, reason)
  # Not the listing's id alone, which may well be another's product's.
  product = texts["product_id"] or f"listing:{listing}"
  category = " > ".join(filter(None, map(spaced, texts["category"].split(">"))))
  split = texts["split"].lower() or hash_split(product)
  split = _CALLED.get(split, split)
  if not _SPLIT.fullmatch(split) or split == "all":  # which stands for each
    return Rejected(number, listing, f"no name for a split: {split[:40]}")
  title = spaced(texts["title"])
  if not title and not texts["image"]:
    return Rejected(number, listing, "neither title nor image")
  return Row(number, listing, product, texts["image"], title, category, split)


def _text(column, value):
  """A field as text; raises ValueError with the reason it cannot be used."""
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  if isinstance(value, bytes):
    value = value.decode("utf-8", "surrogateescape")
  elif isinstance(value, (int, float)) and not isinstance(value, bool):
    # Whole numbers in a column with gaps come as 12.0 where 12 was meant.
    whole = isinstance(value, float) and value.is_integer()
    value = str(int(value) if whole else value)
  elif not isinstance(value, str):
    raise ValueError(f"{column} is no text: {type(value).__name__}")
  if len(value) > MAX_CHARACTERS:
    raise ValueError(
      f"{column} is longer than {MAX_CHARACTERS:,} characters: {len(value):,}"
    )
  if "\0" in value:
    raise ValueError(f"{column} holds a NUL byte")
  try:
    value.encode()
  except UnicodeEncodeError:
    raise ValueError(f"{column} is not valid UTF-8") from None
  return value.strip()


def spaced(text: str) -> str:
  """A text as it is stored: its words with one blank between."""
  return " ".join(text.split())


def hash_split(product_id: str) -> str:
  """train, val or test (80/10/10), the same for all listings of a product."""
  digest = hashlib.blake2b(product_id.encode(), digest_size=8).digest()
  tenth = int.from_bytes(digest, "little") * 10 >> 64
  return {8: "val", 9: "test"}.get(tenth, "train")
