"""Reads shards of WebDataset, as img2dataset writes them, as rows of ours."""

import itertools
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from item_jax.errors import UserError
from item_jax.ingest.readers.formats import opened

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".img", ".image")
# `prepare` rejects these and says what they are.
_UNREAD = (".gif", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".jxl")
_FIRST = 100  # samples that show the columns of a shard

Rows = Iterator[dict[str, Any] | str]


class _Member(tarfile.TarInfo):
  """A file in a .tar, which ends behind an empty block and nowhere else.

  `tarfile` takes a damaged header, or none, for the end as well: the rest of
  the shard would be missing without a word. So would be all but the first of
  several .tar put together: empty blocks stand between them, too.
  """

  ended = False  # whether the block before is an empty one

  @classmethod
  def frombuf(cls, buf, encoding, errors):
    try:
      member = super().frombuf(buf, encoding, errors)
    except tarfile.HeaderError as error:
      cls.ended = not any(buf) and (cls.ended or len(buf) > 0)
      if cls.ended:
        raise
      raise tarfile.ReadError(str(error)) from error
    cls.ended = False
    return member


def find_columns(path: Path) -> list[str]:
  """Lists what the first samples of a shard hold; [] if none can be read."""
  names: dict[str, None] = {}
  for row in itertools.islice(read_webdataset(path), _FIRST):
    if isinstance(row, dict):
      names |= {n: None for n, cell in row.items() if cell not in (None, "")}
  return list(names)


def read_webdataset(path: Path) -> Rows:
  """One .tar: of each key an image, a .txt or a .json, in a row.

  What else there is has columns, too: the fields of the .json, and each other
  file by its ending, as `caption` or `front.txt`.
  """

  class Member(_Member):
    """A file of this .tar."""

  key, parts = ("", ""), {}  # of a link None: it is read as nothing
  try:
    with (
      opened(path) as file,
      tarfile.open(
        fileobj=file, mode="r|", tarinfo=Member, ignore_zeros=True
      ) as tar,
    ):
      for member in tar:
        if member.isdir():
          continue
        folder, name = os.path.split(member.name)
        stem, _, ending = name.partition(".")
        ending = f".{ending.lower()}"
        if (folder, stem) != key or ending in parts:
          yield from _sample(key, parts)
          key, parts = (folder, stem), {}
        data = tar.extractfile(member) if member.isfile() else None
        parts[ending] = None if data is None else data.read()
  except tarfile.TarError as error:
    raise UserError(f"{path} is no whole .tar: {error}") from error
  yield from _sample(key, parts)


def _sample(key, parts: dict[str, bytes | None]) -> Rows:
  if not parts:
    return
  held = {ending: data for ending, data in parts.items() if data is not None}
  try:
    if links := sorted(parts.keys() - held.keys()):
      raise ValueError(f"{links[0]} is a link; expected a file")
    image = held.pop(_find_image(held), None)
    found = json.loads(held.pop(".json", b"{}"))
    text = held.pop(".txt", b"").decode("utf-8-sig")
  except (ValueError, RecursionError) as error:  # nested too deeply
    yield f"no sample: {'/'.join(filter(None, key))}: {error}"
    return
  cells: dict[str, Any] = {ending[1:]: data for ending, data in held.items()}
  if isinstance(found, dict):
    found.pop("image", None)  # the images are inside the shards
    cells |= found
  if image is not None:
    cells["image"] = {"bytes": image}
  if not cells.get("title"):
    cells["title"] = text or cells.get("caption")
  if cells.get("listing_id") in (None, ""):  # 0 is a name too
    cells["listing_id"] = "/".join(filter(None, key))
  yield cells


def _find_image(held: dict[str, bytes]) -> str:
  """Returns the ending of a sample's image: .jpg, else a lone .front.jpg.

  Raises:
    ValueError: there are several of the latter.
  """
  for ending in (*_IMAGES, *_UNREAD):
    if ending in held:
      return ending
  named = [e for e in held if os.path.splitext(e)[1] in (*_IMAGES, *_UNREAD)]
  if len(named) > 1:
    raise ValueError(
      f"its images are {', '.join(named)[:80]}; expected one .jpg"
    )
  return named[0] if named else ""
