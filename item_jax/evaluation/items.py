"""Reads what is scored: an .npy and a CSV in, checked rows out."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from item_jax.errors import UserError
from item_jax.files import CorruptError, read_checksummed, sha256
from item_jax.ingest.readers.cells import MISSING, check_id, to_path, to_text
from item_jax.ingest.readers.tables import composed, open_tables, read_cells

# The store's own spelling is accepted beside the export's.
_ID = ("id", "listing_id")
_PRODUCT = ("product", "product_id")
_NEEDED, _OPTIONAL = (_ID, _PRODUCT), ("category", "role")
ROLES = ("query", "index", "both")
_HEADER = 10_000  # bytes of an .npy's; the most that numpy reads
_BFLOAT16 = re.compile(rb"'descr': *'<V2'")  # what an .npy calls it
EXPORTED = ("embeddings.npy", "items.csv")  # hashed in an export's meta.json


class Items(NamedTuple):
  """N rows; what belongs together and who asks for whom."""

  ids: list[str]  # distinct
  products: list[str]  # "" is a product of its own, matching nothing
  categories: list[str] | None = None  # "" where a row has none
  roles: list[str] | None = None  # of ROLES; None: every row is "both"

  def rows(self, role: str) -> np.ndarray:
    """Row numbers that play this role, "query" or "index"."""
    if self.roles is None:
      return np.arange(len(self.ids))
    here = [said in (role, "both") for said in self.roles]
    return np.flatnonzero(here)


def read_items(path: Path) -> Items:
  """Reads an export's own items.csv, as it was written.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  items = Items(*read_columns(path, _NEEDED, _OPTIONAL, quoting="csv"))
  check_items(items, path)
  return items


def read_listed(
  path: Path, missing: Sequence[str] = MISSING
) -> tuple[Items, dict[str, dict[str, int]]]:
  """Reads a user's table with the columns id, product and optionally category,
  role, as `prepare` reads a catalogue.

  Args:
    missing: words that stand for a missing value.

  Returns:
    The items; and {column: {word: rows}} of words that were read as missing.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  found = read_columns(path, _NEEDED, _OPTIONAL)
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
        raise UserError(f"{path}: row {row}: {name} {error}") from error
      if text.lower() in missing:
        words.setdefault(name, Counter())[text] += 1
        text = ""
      column[row] = text
  items = Items(*found)
  check_items(items, path)
  return items, {name: dict(w.most_common()) for name, w in words.items()}


def read_columns(
  path: Path,
  needed: Sequence[Sequence[str]],
  optional: Sequence[str] = (),
  *,
  quoting: str = "auto",
) -> list[list | None]:
  """Reads columns of a table of any format that `prepare` reads.

  Args:
    needed: of each column the names it may have; exactly one is there.
    optional: names of columns that may be absent.
    quoting: of `delimited.QUOTING`.

  Returns:
    The columns' cells in this order, None for what is absent.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  if not Path(path).exists():
    raise FileNotFoundError(f"{path}: there is no such file")
  columns: list[list | None] = [[] for _ in needed]
  columns += [None] * len(optional)
  row = 0
  for table in open_tables(path, quoting=quoting):
    names = [_column(table.names, spellings, path) for spellings in needed]
    names += [
      _column(table.names, (name,), path, optional=True) for name in optional
    ]
    wanted = {str(place): name for place, name in enumerate(names) if name}
    for cells in read_cells(table, wanted):
      if isinstance(cells, str):
        raise UserError(f"{path}: row {row}: {cells}")
      for place, cell in cells.items():
        if columns[int(place)] is None:
          columns[int(place)] = []
        columns[int(place)].append(cell)
      row += 1
  return columns


def check_items(items: Items, source: Path | str = "items") -> None:
  """Refuses empty and duplicate ids, unknown roles and a role nobody plays."""
  if not items.ids:
    raise UserError(f"{source}: no rows")
  seen: dict[str, int] = {}
  for row, name in enumerate(items.ids):
    if not name:
      raise UserError(f"{source}: row {row} has an empty id")
    if name in seen:
      raise UserError(
        f"{source}: duplicate id {name!r} in rows {seen[name]} and {row}"
      )
    seen[name] = row
  for row, role in enumerate(items.roles or ()):
    if role not in ROLES:
      raise UserError(
        f"{source}: row {row} (id {items.ids[row]!r}) has role {role!r};"
        f" expected one of {', '.join(ROLES)}"
      )
  for role in ("query", "index"):
    if not len(items.rows(role)):
      raise UserError(f"{source}: no row has the role {role!r} or 'both'")


def open_embeddings(path: Path, ids: Sequence[str]) -> np.ndarray:
  """Maps an .npy of one float row an id; its values are checked by the search.

  numpy has no bfloat16 and writes it as two bytes of no kind, "<V2". Nothing
  else is written so (its own two bytes are "|V2"), and it is read as bfloat16.

  Returns:
    float [N, D], on disk until it is read.

  Raises:
    UserError: not an .npy, an object array, other shape, type or row count.
  """
  try:
    header = _check_header(path)
    vectors_ND = np.load(path, mmap_mode="r", allow_pickle=False)
  except (ValueError, EOFError, OverflowError) as error:
    raise UserError(f"{path} is not a plain .npy array: {error}") from error
  if not isinstance(vectors_ND, np.ndarray):
    raise UserError(f"{path} is an archive of arrays; expected one .npy array")
  if _BFLOAT16.search(header):
    vectors_ND = vectors_ND.view(ml_dtypes.bfloat16)
  check_embeddings(vectors_ND, ids, path)
  return vectors_ND


def _check_header(path: Path) -> bytes:
  """Returns an .npy's header: numpy takes as much memory as it claims to be."""
  with open(path, "rb") as file:
    start = file.read(_HEADER)
  field = start[8:10] if start[6:7] == b"\x01" else start[8:12]
  length = int.from_bytes(field, "little")
  if start.startswith(b"\x93NUMPY") and length > _HEADER:
    raise ValueError(f"its header claims {length:,} bytes")
  return start[: length + 12]


def check_embeddings(
  vectors_ND: np.ndarray, ids: Sequence[str], source: Path | str = "embeddings"
) -> None:
  """Refuses what is not one row of float values for each id."""
  if vectors_ND.ndim != 2 or not vectors_ND.shape[1]:
    raise UserError(
      f"{source} has shape {vectors_ND.shape}; expected one row of values for"
      f" each of {len(ids)} items"
    )
  dtype = vectors_ND.dtype
  if dtype != ml_dtypes.bfloat16 and (dtype.kind != "f" or dtype.itemsize > 8):
    lost = ""
    if dtype.kind == "V":
      lost = (
        " (bytes without a type; x.view(ml_dtypes.bfloat16), if it was that)"
      )
    raise UserError(
      f"{source} holds {dtype}{lost}; expected float32 (or float16, bfloat16 or"
      " float64, which are computed in float32), as x.astype(np.float32) is"
    )
  if len(vectors_ND) != len(ids):
    raise UserError(
      f"{source} has {len(vectors_ND)} rows, but there are {len(ids)} items"
    )


def open_export(folder: Path) -> tuple[np.ndarray, Items]:
  """Opens a finished export: its embeddings and items, all of them checked.

  Raises:
    FileNotFoundError: no such folder.
    UserError: the export is unfinished, or (CorruptError) a file, named, is
      not what was written.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder}: no such export folder")
  if not (folder / "meta.json").is_file():
    raise UserError(
      f"{folder} is unfinished: it has no meta.json, which an export writes"
      " last; run the export again, it goes on where it stopped"
    )
  for damage in find_export_damage(folder):
    raise CorruptError(damage)
  items = read_items(folder / "items.csv")
  return open_embeddings(folder / "embeddings.npy", items.ids), items


def find_export_damage(folder: Path) -> Iterator[str]:
  """Yields what of a finished export is not as it was written, if anything."""
  path = Path(folder) / "meta.json"
  try:
    said = read_checksummed(path)["files"]
    expected = {name: said[name] for name in EXPORTED}
  except CorruptError as error:
    yield str(error)
    return
  except (KeyError, TypeError) as error:
    yield f"{path} is not what an export writes: {error!r}"
    return
  for name, hashed in expected.items():
    file = Path(folder) / name
    try:
      if sha256(file) != hashed:
        yield f"{file} was altered: its SHA-256 is not that in {path.name}"
    except FileNotFoundError:
      yield f"{file} is missing"
    except OSError as error:  # what a worn disk answers
      yield f"{file} cannot be read: {error.strerror}"


def check_one_system(folders: Sequence[Path]) -> None:
  """Refuses exports that are not of the same weights, side and width."""
  said = []
  for folder in folders:
    path = Path(folder) / "meta.json"
    # What has none is refused, with the reason, where it is opened.
    said.append(read_checksummed(path) if path.is_file() else {})
  for name in ("checkpoint", "modality", "dims"):
    values = [str(meta.get(name)) for meta in said]
    if len(set(values)) > 1:
      raise UserError(
        f"{', '.join(map(str, folders))} are exports of different systems:"
        f" {name} is {', '.join(values)}"
      )


def check_same_rows(name: str, items: Items, other: str, theirs: Items) -> None:
  """Refuses items that are not row for row those of `other`."""
  if len(items.ids) != len(theirs.ids):
    raise UserError(
      f"{name} has {len(items.ids)} rows, {other} has {len(theirs.ids)}:"
      " expected the same listings"
    )
  for what, left_N, right_N in (
    ("listing", items.ids, theirs.ids),
    ("of product", items.products, theirs.products),
  ):
    for row, (left, right) in enumerate(zip(left_N, right_N, strict=True)):
      if left != right:
        raise UserError(
          f"row {row} is {what} {left!r} in {name} and {right!r} in {other}:"
          " expected the same listings"
        )


def check_apart(opened: Iterable[tuple[Path, Items]]) -> None:
  """Refuses exports (folder, items) that have a listing in common."""
  home: dict[str, Path] = {}
  for folder, items in opened:
    for name in items.ids:
      if name in home:
        raise UserError(
          f"listing {name!r} is in {home[name]} and in {folder}: what is"
          " scored must not be learnt from, nor anything be chosen by it"
        )
    home |= dict.fromkeys(items.ids, folder)


def _column(header, names, path, *, optional=False) -> str | None:
  """The one column of these names that the header has, as it spells it."""
  found = [name for name in header if composed(name) in names]
  if not found and optional:
    return None
  if len(found) != 1:
    raise UserError(
      f"{path}: expected one column {' or '.join(names)}, but the header is"
      f" {','.join(header) or 'empty'}"
    )
  return found[0]
