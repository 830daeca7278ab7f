"""Reads what is scored: which rows belong together and which are queries.

An export is a folder with embeddings.npy, items.csv and, written last,
meta.json, which holds the other two files' SHA-256.
"""

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.data.summary import describe_missing
from item_jax.errors import NotFoundError, UserError, check_path
from item_jax.evaluation.columns import name_table, read_columns
from item_jax.evaluation.mixed import SPARSE, open_mixed
from item_jax.evaluation.ranking import check_ids
from item_jax.evaluation.results import Shown
from item_jax.evaluation.vectors import Mixed, open_embeddings
from item_jax.files import RUN_FILE, CorruptError, read_checksummed, sha256
from item_jax.ingest.plausible import find_outsized
from item_jax.ingest.readers.cells import MISSING, check_id, to_path, to_text
from item_jax.ingest.row import Reading

logger = logging.getLogger(__name__)

# {a file of a folder: what the folder is, and how vectors are made of it}.
_MAKE_EXPORTS = {
  "catalogue.json": ("a data set", "--workdir=RUN --data={}"),
  RUN_FILE: ("a run", "--workdir={} --data=DATA"),
}

# The store's own spelling is accepted beside the export's.
_ID = ("id", "listing_id")
_PRODUCT = ("product", "product_id")
_NEEDED, _OPTIONAL = (_ID, _PRODUCT), ("category", "role")
ROLES = ("query", "index", "both")
EXPORTED = ("embeddings.npy", "items.csv")  # hashed in an export's meta.json


class Items(NamedTuple):
  """N rows: which belong to one product, and which are searched for which."""

  ids: list[str]  # distinct
  products: list[str]  # "" is a product of its own
  categories: list[str] | None = None  # "" where a row has none
  roles: list[str] | None = None  # of ROLES; None: every row is "both"

  def rows(self, role: str) -> np.ndarray:
    """Row numbers that play this role, "query" or "index"."""
    if self.roles is None:
      return np.arange(len(self.ids))
    return np.flatnonzero([own in (role, "both") for own in self.roles])

  def category(self, row: int) -> str:
    """The category of a row, or ""."""
    return self.categories[row] if self.categories else ""


def has_pairs(products: Sequence[str]) -> bool:
  """Whether any product has two listings; "" is none."""
  named = [product for product in products if product]
  return len(set(named)) < len(named)


def read_items(path: Path) -> Items:
  """Reads an export's own items.csv, as it was written.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  items = Items(*read_columns(path, _NEEDED, _OPTIONAL, quoting="csv"))
  check_items(items, path)
  return items


def open_items(items: Any, missing: str | Sequence[str] = MISSING) -> Items:
  """Returns the items of a table, a file, an export's folder or an `Export`.

  Logs which words were read as missing, and which products hold too many rows
  to be one.

  Args:
    items: a table (a data frame, columns by name, or rows as mappings) or a
      file of one in a format that `prepare` reads, with the columns id, product
      and optionally category and role; or an export; or `Items`, returned as
      they are.
    missing: words that stand for a missing value, in any case.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  if isinstance(items, Items):
    return items
  if isinstance(items, Export):
    return items.items
  if isinstance(items, (str, os.PathLike)) and is_export(items):
    return open_export(items).items
  listed, words = read_listed(items, missing)
  for line in [*describe_missing(words), *_describe_outsized(listed)]:
    logger.info(line)
  return listed


def _describe_outsized(items: Items) -> list[str]:
  """Returns a warning for each product that holds too many rows to be one."""
  sizes = Counter(filter(None, items.products))
  products = list(sizes)
  found = find_outsized(np.fromiter(sizes.values(), np.int64))
  return [
    f"warning: product {products[at]!r} holds {sizes[products[at]]:,} of"
    f" {len(items.ids):,} rows: is it a word for a missing id?"
    for at, outsized in found.items()
    if outsized.implausible(products[at], counted="1" in sizes)
  ]


def read_listed(
  table: Any, missing: str | Sequence[str] = MISSING
) -> tuple[Items, dict[str, dict[str, int]]]:
  """Reads a user's table as `prepare` reads a catalogue.

  Args:
    table, missing: as of `open_items`.

  Returns:
    The items; and {column: {word: rows}} of words that were read as missing.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  found = read_columns(table, _NEEDED, _OPTIONAL)
  source = name_table(table)
  missing = Reading(missing=missing).missing
  words: dict[str, Counter] = {}
  for name, column in zip(
    ("id", "product", "category", "role"), found, strict=True
  ):
    spell = to_path if name == "category" else to_text
    for row, value in enumerate(column or ()):
      try:
        text = spell(value)
        if name in ("id", "product"):
          check_id(text, value)
      except ValueError as error:
        raise UserError(f"{source}: row {row}: {name} {error}") from error
      if text.lower() in missing:
        words.setdefault(name, Counter())[text] += 1
        text = ""
      column[row] = text
  items = Items(*found)
  check_items(items, source)
  return items, {name: dict(w.most_common()) for name, w in words.items()}


def check_items(items: Items, source: Path | str = "items") -> None:
  """Refuses empty and duplicate ids, unknown roles and a role nobody plays."""
  if not items.ids:
    raise UserError(f"{source}: no rows")
  for row, name in enumerate(items.ids):
    if not name:
      raise UserError(f"{source}: row {row} has an empty id")
  check_ids(items.ids, source)
  for row, role in enumerate(items.roles or ()):
    if role not in ROLES:
      raise UserError(
        f"{source}: row {row} (id {items.ids[row]!r}) has role {role!r};"
        f" expected one of {', '.join(ROLES)}"
      )
  for role in ("query", "index"):
    if not len(items.rows(role)):
      raise UserError(f"{source}: no row has the role {role!r} or 'both'")


class Export(Shown):
  """A finished export: embeddings of a split, and the listings they are of.

  path: its folder. Files are read when they are needed, and refused where
  another export has taken their place since.
  """

  def __init__(self, path: str | os.PathLike):
    check_path(path, "export")
    self.path = Path(path)

  @functools.cached_property
  def meta(self) -> dict[str, Any]:
    """What meta.json holds: rows, dims, modality, split, checkpoint, ..."""
    return read_checksummed(self.path / "meta.json")

  @property
  def space(self) -> str:
    """How its vectors were pooled and transformed; "": as they were trained."""
    return self.meta.get("space", "")

  @functools.cached_property
  def items(self) -> Items:
    """The rows' ids, products and categories."""
    return read_items(self._file("items.csv"))

  @functools.cached_property
  def vectors(self) -> np.ndarray | Mixed:
    """float32 [N, D], rows of unit length, on disk until they are read.

    `Mixed` of a fusion with a sparse part.
    """
    # Not whether it is there: it may be of a fusion that was replaced.
    if SPARSE in self.meta["files"]:
      return open_mixed(self._file(""), self.items.ids)
    return open_embeddings(self._file("embeddings.npy"), self.items.ids)

  def _file(self, name: str) -> Path:
    """A file's path; refuses that of another export made since in its place."""
    if read_checksummed(self.path / "meta.json") != self.meta:
      raise UserError(f"{self.path} was made anew since: open it again")
    return self.path / name

  def to_dict(self) -> dict[str, Any]:
    """Returns `meta`."""
    return self.meta

  def to_frame(self):
    """Returns items.csv as a pandas.DataFrame."""
    import pandas

    texts = ("id", "product", "category", "title")  # whatever they look like
    dtype: Any = dict.fromkeys(texts, object)
    path = self._file("items.csv")
    return pandas.read_csv(path, keep_default_na=False, dtype=dtype)

  def __len__(self) -> int:
    return len(self.items.ids)

  def __str__(self) -> str:
    text = (
      f"{self.path}: {self.meta.get('rows')} rows of {self.meta.get('dims')},"
      f" {self.meta.get('modality')}"
    )
    if drop := self.meta.get("drop"):
      text += f", {drop['rate']:.0%} of the complete lack a side"
    return text


def is_export(folder: str | os.PathLike) -> bool:
  """Whether a path is a folder that holds an export's files."""
  return (Path(folder) / "meta.json").is_file()


def open_export(folder: str | os.PathLike) -> Export:
  """Opens a finished export and checks all of its files.

  Raises:
    NotFoundError: no such folder.
    UserError: the export is unfinished, or (CorruptError) a file, named, is
      not what was written.
  """
  export = Export(folder)
  if not export.path.is_dir():
    raise NotFoundError(f"{folder}: no such export folder")
  if not is_export(folder):
    within = sorted(meta.parent for meta in export.path.glob("*/meta.json"))
    if within:
      raise UserError(
        f"{folder} is no export, and holds {len(within)}: expected one of"
        f" {', '.join(map(str, within[:9]))}" + ", ..." * (len(within) > 9)
      )
    for name, (what, given) in _MAKE_EXPORTS.items():
      if (export.path / name).is_file():
        raise UserError(
          f"{folder} is {what}, and has no vectors: item-jax export"
          f" {given.format(folder)} --split=test --out=E writes some"
        )
    raise UserError(
      f"{folder} is unfinished: it has no meta.json, which an export writes"
      " last; run the export again: it goes on, or says why it cannot"
    )
  for damage in find_export_damage(export.path):
    raise CorruptError(damage)
  len(export.vectors)  # reads the items too
  return export


def find_export_damage(folder: Path) -> Iterator[str]:
  """Yields what of a finished export is not as it was written, if anything."""
  path = Path(folder) / "meta.json"
  return find_listed_damage(path, needed=EXPORTED, writer="an export")


def find_listed_damage(
  path: Path, *, needed: Sequence[str], writer: str
) -> Iterator[str]:
  """Yields what is not as a record says, which holds {"files": {name: sha256}}.

  Args:
    path: of the record, beside the files.
    needed: files that it has to list. writer: of such records.
  """
  try:
    hashes = read_checksummed(path)["files"]
    expected = {name: hashes[name] for name in [*needed, *hashes]}
  except CorruptError as error:
    yield str(error)
    return
  except (KeyError, TypeError) as error:
    yield f"{path} is not what {writer} writes: {error!r}"
    return
  for name, hashed in expected.items():
    file = path.parent / name
    try:
      if sha256(file) != hashed:
        yield f"{file} was altered: its SHA-256 is not that in {path.name}"
    except FileNotFoundError:
      yield f"{file} is missing"
    except OSError as error:  # what a worn disk raises
      yield f"{file} cannot be read: {error.strerror}"
