"""Reads which address became which file in img2dataset's output folder.

The output folder (output_format=files) looks like this, where each
shard's table says which address became which file, and what failed:

  00000/000000000.jpg, 00000/000000000.json, ...
  00000.parquet
"""

import importlib.util
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

from etils import epath

from item_jax.errors import UserError

_SHARD = re.compile(r"\d+")
_NOTE = re.compile(r"\d+\.json")
IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def fetchable(address: str) -> str:
  """Completes an address for programs that fetch: with a scheme, in ASCII.

  "//host/blue lamp.jpg?a=1&amp;b=2", as on web pages, is not complete.
  """
  address = address.strip().replace("&amp;", "&")
  if address.startswith("//"):
    address = f"https:{address}"
  # Keeps all characters that addresses consist of, and escapes.
  return quote(address, safe="%/:=&?~#+!$,;'@()*[]", errors="surrogateescape")


class Index:
  """Maps the addresses that img2dataset was given to files.

  It is a temporary file of SQLite's: a million addresses take no memory.
  """

  def __init__(self):
    # An empty name means a file that is deleted with the connection.
    self._files = sqlite3.connect("", check_same_thread=False)
    self._files.execute(
      "CREATE TABLE files (address TEXT PRIMARY KEY, file TEXT, reason TEXT)"
      " WITHOUT ROWID"
    )

  def __len__(self) -> int:
    """Counts the addresses that have a file."""
    found = self._files.execute("SELECT COUNT(*) FROM files WHERE file != ''")
    return found.fetchone()[0]

  def add(self, entries: Iterable[tuple[str, str, str]]) -> None:
    """Adds (address, file, reason); a file replaces an earlier failure."""
    self._files.executemany(
      "INSERT INTO files VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
      " file = excluded.file, reason = excluded.reason WHERE file = ''",
      entries,
    )

  def find(self, address: str) -> tuple[str, str]:
    """Returns an address's file below the folder, or "" and the reason."""
    found = self._files.execute(
      "SELECT file, reason FROM files WHERE address = ?",
      (fetchable(address),),
    ).fetchone()
    return found or (
      "",
      f"the image is an address that was not fetched: {address}",
    )


def open_index(folder: str | os.PathLike) -> Index | None:
  """Opens an output folder of img2dataset; None for any other folder.

  Args:
    folder: may be on an object store, as gs://bucket/photos.

  Raises:
    UserError: its images are packed, or it is corrupt.
  """
  root = epath.Path(folder)
  entries = {entry.name: entry for entry in root.iterdir()}
  index = None
  stems = {PurePosixPath(name).stem.removesuffix("_stats") for name in entries}
  for shard in sorted(filter(_SHARD.fullmatch, stems)):
    if shard in entries and entries[shard].is_dir():
      notes = list(_read_shard(entries[shard], entries.get(f"{shard}.parquet")))
      if notes:
        index = index or Index()
        index.add(notes)
    elif f"{shard}_stats.json" in entries:
      raise UserError(
        f"{root} was written by img2dataset with its images packed, there is no"
        f" folder {shard}: expected --output_format=files"
      )
  return index


def _read_shard(folder, table) -> Iterator[tuple[str, str, str]]:
  """Yields (address, file, reason) of a shard, from its table or notes."""
  names = _list(folder)
  images = {}
  for name in names:
    key, suffix = os.path.splitext(name)
    if suffix.lower() in IMAGES:
      images[key] = f"{folder.name}/{name}"
  # The notes hold the same, except failures; a million are slow to open.
  if table and importlib.util.find_spec("pyarrow"):
    notes = _read_table(table)
  else:
    notes = _read_notes(folder, names)
  for note in notes:
    address, key = note.get("url"), note.get("key")
    if not isinstance(address, str) or not isinstance(key, str):
      continue
    file = images.get(key, "")
    why = note.get("error_message") or note.get("status") or "no reason given"
    reason = "" if file else f"the image could not be fetched: {why}"
    yield fetchable(address), file, reason


def _list(folder):
  """Lists the names in a folder; thousands of Path objects would be slow."""
  if "://" in os.fspath(folder):
    return [entry.name for entry in folder.iterdir()]
  return os.listdir(folder)


def _read_table(table):
  import pyarrow as pa
  import pyarrow.parquet as pq

  wanted = {"url", "key", "status", "error_message"}
  try:
    with table.open("rb") as file:
      parquet = pq.ParquetFile(file)
      columns = [c for c in parquet.schema_arrow.names if c in wanted]
      if not {"url", "key"} <= set(columns):
        return  # not a table of img2dataset
      for batch in parquet.iter_batches(4096, columns=columns):
        yield from batch.to_pylist()
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{table} is broken or cut short: {error}") from error


def _read_notes(folder, names):
  """Reads the same from the .json beside each image; failures have none."""
  for name in sorted(names):
    if _NOTE.fullmatch(name):
      try:
        note = json.loads((folder / name).read_text("utf-8"))
      except (ValueError, RecursionError):
        continue  # reported where the image is looked up
      if isinstance(note, dict):
        yield note
