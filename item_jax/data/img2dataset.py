"""Finds the files of images that a catalogue gives as addresses.

Nothing is fetched here: img2dataset does that well, and what it writes is
read. Its output folder (output_format=files) looks like this, where each
shard's table says which address became which file, and what failed:

  00000/000000000.jpg, 00000/000000000.json, ...
  00000.parquet
"""

import csv
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from etils import epath

from item_jax.errors import UserError

_SHARD = re.compile(r"\d{4,}")
_IMAGES = {".jpg", ".jpeg", ".png", ".webp"}
_ADDRESS = re.compile(r"(?:https?:)?//\S", re.IGNORECASE)
# A list as CSV: as plain text, img2dataset takes a comma for the address's end.
_COLUMN = "url"
_COMMAND = (
  "img2dataset --url_list={list} --input_format=csv --url_col=url"
  " --output_format=files --output_folder={folder} --resize_mode=no"
)


def is_address(image: str) -> bool:
  """Returns whether an image is an address on the web, not a file's name."""
  return bool(_ADDRESS.match(image))


def explain(count: int, example: str, addresses: str | os.PathLike) -> str:
  """Returns the sentence that says what to do where images are addresses.

  Args:
    count: images that are.
    example: one of them.
    addresses: the file that `write_addresses` wrote them to.
  """
  command = _COMMAND.format(list=os.fspath(addresses), folder="photos")
  return (
    f"{count:,} images are addresses, as {example}, which are not fetched: they"
    f" are listed in {addresses}; fetch them with `{command}` and say"
    " --images=photos"
  )


def write_addresses(path: str | os.PathLike, images: Iterable[str]) -> int:
  """Writes each address among images once, as a CSV for img2dataset.

  Returns:
    How many they are.
  """
  seen: set[int] = set()
  with open(
    path, "w", newline="", encoding="utf-8", errors="backslashreplace"
  ) as file:
    lines = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writerow([_COLUMN])
    for image in images:
      # A hash is all that must be kept of each.
      if is_address(image) and hash(image) not in seen:
        seen.add(hash(image))
        lines.writerow([image])
  return len(seen)


def list_names(address: str) -> list[str]:
  """Returns where a fetched image may lie below a folder, likeliest first.

  Without what follows "?" or "#": the whole path below the host's name, below
  the folder itself and then shorter, down to the file's name alone; each with
  %20 and the like decoded, and as it is.
  """
  parts = urlsplit(address)
  path = f"{parts.netloc}/{parts.path.lstrip('/')}".split("/")
  names = []
  for start in range(len(path)):
    # The host alone is no file, nor is a path that ends with a slash.
    if path[-1] and len(path) > 1:
      name = "/".join(path[start:])
      names += [unquote(name), name]
  return list(dict.fromkeys(names))


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
      (_valid(address),),
    ).fetchone()
    return found or ("", f"the address was not fetched: {address}")


def _valid(address):
  return address.strip().encode(errors="replace").decode()


def open_index(folder: str | os.PathLike) -> Index | None:
  """Opens an output folder of img2dataset; None where it is another folder.

  Args:
    folder: may be of an object store, as gs://bucket/photos.

  Raises:
    UserError: it has no single files, or is broken.
  """
  root = epath.Path(folder)
  entries = {entry.name: entry for entry in root.iterdir()}
  shards = sorted(
    stem
    for stem in {PurePosixPath(name).stem for name in entries}
    if _SHARD.fullmatch(stem)
    # Its own marks: folders of digits alone may be anybody's.
    and entries.keys() & {f"{stem}.parquet", f"{stem}_stats.json"}
  )
  if not shards:
    return None
  index = Index()
  for shard in shards:
    packed = [s for s in (".tar", ".tfrecord") if f"{shard}{s}" in entries]
    if packed or shard not in entries:
      what = f"{shard}{packed[0]}" if packed else "no folder of that name"
      raise UserError(
        f"{root} was written by img2dataset with its images packed: there is"
        f" {shard}.parquet and {what}; expected --output_format=files"
      )
    table = entries.get(f"{shard}.parquet")
    index.add(_read_shard(entries[shard], table))
  return index


def _read_shard(folder, table) -> Iterator[tuple[str, str, str]]:
  """Yields (address, file, reason) of a shard, from its table or notes."""
  names = {entry.name for entry in folder.iterdir()}
  images = {
    PurePosixPath(name).stem: f"{folder.name}/{name}"
    for name in names
    if PurePosixPath(name).suffix.lower() in _IMAGES
  }
  for note in _read_table(table) if table else _read_notes(folder, names):
    address, key = note.get("url"), note.get("key")
    if not isinstance(address, str) or not isinstance(key, str):
      continue
    file = images.get(key, "")
    said = note.get("error_message") or note.get("status") or "no reason given"
    reason = "" if file else f"img2dataset could not fetch it: {said}"
    yield _valid(address), file, reason


def _read_table(table):
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError as error:
    raise UserError(
      f"reading {table} takes pyarrow: pip install -e '.[parquet]' in"
      " item-jax's clone"
    ) from error
  wanted = {"url", "key", "status", "error_message"}
  try:
    with table.open("rb") as file:
      parquet = pq.ParquetFile(file)
      columns = [c for c in parquet.schema_arrow.names if c in wanted]
      if not {"url", "key"} <= set(columns):
        raise UserError(
          f"{table} has no columns url and key: img2dataset wrote other ones"
        )
      for batch in parquet.iter_batches(4096, columns=columns):
        yield from batch.to_pylist()
  except (OSError, pa.ArrowException) as error:
    raise UserError(f"{table} is broken or cut short: {error}") from error


def _read_notes(folder, names):
  """The same from the .json beside each image; failures have none."""
  for name in sorted(names):
    if name.endswith(".json"):
      path = folder / name
      try:
        note = json.loads(path.read_text())
      except (OSError, ValueError) as error:
        raise UserError(f"{path} is broken: {error}") from error
      if isinstance(note, dict):
        yield note
