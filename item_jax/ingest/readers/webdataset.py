"""Reads shards of WebDataset, as img2dataset writes them, as rows of ours."""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from item_jax.errors import UserError
from item_jax.ingest.readers.formats import opened

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")
# `prepare` rejects these and says what they are.
_UNREAD = (".gif", ".avif", ".heic", ".tif", ".tiff", ".bmp", ".jxl")

Rows = Iterator[dict[str, Any] | str]


class _Member(tarfile.TarInfo):
  """A file in a .tar, which ends with an empty block and nowhere else.

  `tarfile` takes a damaged header, or none, for the end as well: the rest of
  the shard would be missing without a word.
  """

  @classmethod
  def frombuf(cls, buf, encoding, errors):
    try:
      return super().frombuf(buf, encoding, errors)
    except tarfile.HeaderError as error:
      if buf and not any(buf):
        raise
      raise tarfile.ReadError(str(error)) from error


def read_webdataset(path: Path) -> Rows:
  """One .tar: of each key an image, a .txt or a .json, in a row."""
  key, parts = ("", ""), {}  # of a link None: it is read as nothing
  try:
    with (
      opened(path) as file,
      tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as tar,
    ):
      for member in tar:
        if member.isdir():
          continue
        folder, name = os.path.split(member.name)
        stem, _, ending = name.partition(".")
        if (folder, stem) != key:
          yield from _sample(key, parts)
          key, parts = (folder, stem), {}
        data = tar.extractfile(member) if member.isfile() else None
        parts[f".{ending.lower()}"] = None if data is None else data.read()
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
    image = _find_image(held)
    found = json.loads(held.get(".json", b"{}"))
    text = held.get(".txt", b"").decode("utf-8-sig")
  except (ValueError, RecursionError) as error:  # nested too deeply
    yield f"no sample: {'/'.join(filter(None, key))}: {error}"
    return
  found = found if isinstance(found, dict) else {}
  own = found.get("listing_id")
  if own in (None, ""):
    own = "/".join(filter(None, key))
  yield {
    "listing_id": own,  # 0 is a name too
    "product_id": found.get("product_id"),
    "image": {"bytes": image} if image is not None else "",
    "title": found.get("title") or text or found.get("caption"),
    "category": found.get("category"),
    "split": found.get("split"),
  }


def _find_image(held: dict[str, bytes]) -> bytes | None:
  """Returns a sample's image: KEY.jpg or the like, else a lone KEY.front.jpg.

  Raises:
    ValueError: there are several of the latter.
  """
  for ending in (*_IMAGES, *_UNREAD):
    if ending in held:
      return held[ending]
  named = [e for e in held if os.path.splitext(e)[1] in (*_IMAGES, *_UNREAD)]
  if len(named) > 1:
    raise ValueError(
      f"its images are {', '.join(named)[:80]}; expected one .jpg"
    )
  return held[named[0]] if named else None
