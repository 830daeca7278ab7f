"""Finds the files of images that a catalogue gives as web addresses.

Nothing is fetched here: img2dataset does that well. Its output folder is read,
or any folder of fetched files.
"""

import csv
import functools
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from etils import epath

from item_jax.errors import UserError
from item_jax.files import whole_file
from item_jax.ingest.images.img2dataset import IMAGES, fetchable, open_index
from item_jax.ingest.images.names import shorten
from item_jax.ingest.row import Rejected, Row

_ADDRESS = re.compile(r"(?:https?:)?//\S", re.IGNORECASE)
_COLUMN = "url"


def is_web_address(image: str) -> bool:
  """Whether an image is an address on the web, not a file's name."""
  return bool(_ADDRESS.match(image))


def explain(count: int, example: str, addresses: str | os.PathLike) -> str:
  """Explains what to do with images that are addresses.

  Args:
    count: how many images are.
    example: one of them.
    addresses: the file that `write_addresses` wrote them to.
  """
  # The list is CSV, because img2dataset fails at commas in a plain text. Images
  # are kept as they are: encoded anew they lose their EXIF orientation.
  command = (
    f"img2dataset --url_list={shlex.quote(os.fspath(addresses))}"
    f" --input_format=csv --url_col={_COLUMN} --output_format=files"
    " --output_folder=photos --resize_mode=no --skip_reencode=True"
  )
  return (
    f"{count:,} images are addresses, as {example}, which are not fetched: they"
    f" are listed in {addresses}; fetch them with `{command}` and use"
    " --images=photos"
  )


def write_addresses(path: str | os.PathLike, images: Iterable[str]) -> int:
  """Writes each address among images once, to a CSV for img2dataset.

  Returns:
    How many addresses there are.
  """
  seen: set[int] = set()
  with whole_file(path, text=True) as file:
    lines = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writerow([_COLUMN])
    for address in map(fetchable, filter(is_web_address, images)):
      # To know an address again its hash is enough.
      if hash(address) not in seen:
        seen.add(hash(address))
        lines.writerow([address])
  return len(seen)


def list_names(address: str) -> list[str]:
  """Lists where a fetched image may be below a folder, the likeliest first.

  Without what follows "?" or "#": the whole path below the host's name, below
  the folder itself and then shorter, down to the file's name alone; each with
  %20 and the like decoded, and as it is. No name where there is a "?" and the
  path does not end as an image's name: then what follows tells images apart.
  """
  try:
    parts = urlsplit(address.strip())
  except ValueError:
    return []
  path = f"{parts.netloc}/{parts.path.lstrip('/')}".split("/")
  suffix = PurePosixPath(unquote(path[-1])).suffix.lower()
  if len(path) < 2 or (parts.query and suffix not in IMAGES):
    return []
  names: dict[str, None] = {}
  for start in range(len(path)):
    name = "/".join(path[start:])
    names.update({unquote(name): None, name: None})
  return [name for name in names if _stays_inside(name)]


def _stays_inside(name):
  parts = name.replace("\\", "/").split("/")
  return "\0" not in name and not {"", ".", ".."} & set(parts)


class Fetched:
  """Finds the file of each address in a folder of fetched images."""

  def __init__(self, folder: str | os.PathLike):
    """Finds out what kind of folder it is.

    Args:
      folder: img2dataset's output, or one in which the files have the names
        that the addresses end with.

    Raises:
      UserError: as `open_index`.
    """
    self._root = epath.Path(folder)
    self._index = open_index(folder)
    self._owners: dict[str, str] = {}  # of files found by name: the address

  def find(self, address: str) -> tuple[str, str]:
    """Returns the address's file below the folder, or "" and the reason."""
    if self._index is not None:
      return self._index.find(address)
    for name in list_names(address):
      if not self._exists(name):
        continue
      # Two images of one name ("a/1.jpg", "b/1.jpg") in a folder without a and
      # b: the file may be either.
      path = address.partition("?")[0].partition("#")[0].strip()
      owner = self._owners.setdefault(name, path)
      if owner == path:
        return name, ""
      return "", f"two addresses for one image file: {name}: {owner}, {path}"
    return "", f"the image is an address that was not fetched: {address}"

  def _exists(self, name):
    path = self._root / name
    if "://" in os.fspath(self._root):
      return path.exists()
    return os.path.isfile(path)  # False for names that no file can have


class FetchedImages:
  """Replaces images that are addresses by the files fetched for them.

  missing: how many addresses have no file; their rows are rejected.
  """

  def __init__(self, folder: str | os.PathLike, *others: str | os.PathLike):
    """Takes the folder of images, and others that it could as well be."""
    self._folder = folder
    self._others = others
    self.missing = 0

  @functools.cached_property
  def _fetched(self) -> Fetched:
    return Fetched(self._folder)  # opened at the first address

  def replace(self, rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
    """Yields the rows in their order, with files in place of addresses.

    Raises:
      UserError: a path may start from several folders: its file would be
        another row's of the same name.
    """
    for row in rows:
      if isinstance(row, Rejected) or isinstance(row.image, bytes):
        yield row
        continue
      if not is_web_address(row.image):
        if row.image and self._others:
          raise UserError(
            f"row {row.number} names the image {shorten(row.image)}, and the"
            f" catalogue's files lie in several folders, {self._folder} and"
            f" {self._others[0]}: --images says where the paths of images start"
          )
        yield row
        continue
      file, reason = self._fetched.find(row.image)
      if file:
        yield row._replace(image=file)
      else:
        self.missing += 1
        yield Rejected(row.number, row.listing_id, reason)

  def explain(self, rows: Iterable[Row | Rejected], path: Path) -> str:
    """Lists the addresses without a file in a CSV; explains what to do with it.

    Args:
      rows: of the catalogue, read once more.
      path: of the CSV to write.
    """
    wanted = (
      image
      for row in rows
      if isinstance(row, Row)
      and isinstance(image := row.image, str)
      and is_web_address(image)
      and not self._fetched.find(image)[0]
    )
    first = next(wanted)
    write_addresses(path, itertools.chain([first], wanted))
    return explain(self.missing, first, path)
