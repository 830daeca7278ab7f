"""Defines the rows of a catalogue, and the options for reading them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from item_jax.errors import UserError, name_kind
from item_jax.ingest.readers.cells import MISSING
from item_jax.listing import as_list

SPLIT_ALIASES = {
  "training": "train",
  "valid": "val",
  "validation": "val",
  "dev": "val",
}
_TEXTS = ("file_format", "quoting", "source", "which_category")
COLUMNS = ("listing_id", "product_id", "image", "title", "category", "split")


class Row(NamedTuple):
  """A listing as its catalogue describes it, with all fields checked."""

  number: int  # from 1, as rows of the table without its header
  listing_id: str
  product_id: str
  # A path inside the image folder, or an image file's bytes; "" when missing.
  image: str | bytes
  title: str  # "" when missing
  category: str
  split: str  # train, val, test, or another name of the catalogue's


class Rejected(NamedTuple):
  """A row that cannot be used; `reason` is `kind` or `kind: detail`."""

  number: int
  listing_id: str
  reason: str


@dataclass(frozen=True, kw_only=True)
class Reading:
  """Options for reading a catalogue.

  columns: {name of COLUMNS: the catalogue's own name for it}.
  missing: words that stand for a missing value, in any case; kept in lower.
  file_format: of its files: one of `formats.FORMATS`, or "package.module:NAME";
    "auto" detects it by their names.
  quoting: one of `delimited.QUOTING`, for CSV and TSV.
  source: the shop system that wrote it: one of `sources.NAMES`, or
    "package.module:NAME"; "auto" detects it by the header.
  category_separator: between the levels of a category; None takes that of the
    source, or ">" in a plain table.
  which_category: one of `sources.WHICH`, where a shop names several.
  trust_ids: whether to accept ids that look like numbers which lost digits, or
    like no ids at all.
  """

  columns: Mapping[str, str] = field(default_factory=dict)
  missing: str | Sequence[str] = MISSING
  file_format: str = "auto"
  quoting: str = "auto"
  source: str = "auto"
  category_separator: str | None = None
  which_category: str = "first"
  trust_ids: bool = False

  def __post_init__(self) -> None:
    object.__setattr__(self, "missing", tuple(as_list(self.missing, "missing")))
    if not isinstance(self.columns, Mapping):
      raise UserError(
        f"columns={name_kind(self.columns)}: expected a mapping of our names to"
        " the catalogue's"
      )
    texts = {name: [getattr(self, name)] for name in _TEXTS}
    texts |= {"missing": self.missing, "columns": [*self.columns.values()]}
    for name, values in texts.items():
      for value in values:
        if not isinstance(value, str):
          raise UserError(f"{name} has {value!r}: expected text")
    words = [word.strip().lower() for word in self.missing]
    object.__setattr__(self, "missing", tuple(filter(None, words)))
    own = self.category_separator
    if own is not None and not (isinstance(own, str) and own.strip()):
      raise UserError(f"category_separator={own!r}: expected > or / or such")
    if not isinstance(self.trust_ids, bool):
      raise UserError(f"trust_ids={self.trust_ids!r}: expected True or False")


def name_row(number: int) -> str:
  """Names a listing whose row has no id."""
  return f"row-{number}"


def name_product(listing_id: str) -> str:
  """Names the product of a listing that has none: one of its own.

  With a prefix: the listing's id may be another listing's product id.
  """
  return f"listing:{listing_id}"


def is_numbered(product_id: str) -> bool:
  """Whether a product has its name by a row's number in some table."""
  return product_id.startswith(name_product(name_row(0))[:-1])


def hash_split(product_id: str) -> str:
  """Assigns a product to train, val or test (80/10/10) by a hash of its id."""
  digest = hashlib.blake2b(product_id.encode(), digest_size=8).digest()
  tenth = int.from_bytes(digest, "little") * 10 >> 64
  return {8: "val", 9: "test"}.get(tenth, "train")
