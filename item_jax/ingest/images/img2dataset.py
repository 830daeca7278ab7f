"""Reads which address became which file in an output folder of img2dataset.

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
  """Returns an address as programs that fetch want it: whole, in ASCII.

  "//host/blue lamp.jpg?a=1&amp;b=2", as pages have it, is no such address.
  """
  address = address.strip().replace("&amp;", "&")
  if address.startswith("//"):
    address = f"https:{address}"
  # All that addresses consist of is kept, escapes too.
  return quote(address, safe="%/:=&?~#+!$,;'@()*[]", errors="surrogateescape")


class Index:
  """The files of the addresses that img2dataset was given.

  It lies in a temporary file of SQLite's: a million addresses take no memory.
  """

  def __init__(self):
    # The empty name is a file that is gone with the connection.
    self._files = sqlite3.connect("", check_same_thread=False)
    self._files.execute(
      "CREATE TABLE files (address TEXT PRIMARY KEY, file TEXT, reason TEXT)"
      " WITHOUT ROWID"
    )

  def __len__(self) -> int:
    """How many addresses have a file."""
    found = self._files.execute("SELECT COUNT(*) FROM files WHERE file != ''")
    return found.fetchone()[0]

  def add(self, entries: Iterable[tuple[str, str, str]]) -> None:
    """Takes (address, file, reason); one with a file takes another's place."""
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
  """Opens an output folder of img2dataset; None where it is another folder.

  Args:
    folder: may be of an object store, as gs://bucket/photos.

  Raises:
    UserError: it has no single files, or is broken.
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
  # The notes say the same, but for what failed; a million are slow to open.
  if table and importlib.util.find_spec("pyarrow"):
    notes = _read_table(table)
  else:
    notes = _read_notes(folder, names)
  for note in notes:
    address, key = note.get("url"), note.get("key")
    if not isinstance(address, str) or not isinstance(key, str):
      continue
    file = images.get(key, "")
    said = note.get("error_message") or note.get("status") or "no reason given"
    reason = "" if file else f"the image could not be fetched: {said}"
    yield fetchable(address), file, reason


def _list(folder):
  """Names in a folder; a shard's are thousands, whose paths take long."""
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
        return  # somebody else's
      for batch in parquet.iter_batches(4096, columns=columns):
        yield from batch.to_pylist()
  except (OSError, ValueError, pa.ArrowException) as error:
    raise UserError(f"{table} is broken or cut short: {error}") from error


def _read_notes(folder, names):
  """The same from the .json beside each image; failures have none."""
  for name in sorted(names):
    if _NOTE.fullmatch(name):
      try:
        note = json.loads((folder / name).read_text())
      except ValueError:
        continue  # its image is missed where it is wanted
      if isinstance(note, dict):
        yield note
