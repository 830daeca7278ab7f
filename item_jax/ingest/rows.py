"""Turns checked rows and their images into records, and lists the rejected.

Every way of preparing uses these functions: one process, many processes, and
the workers of a Beam runner.
"""

import csv
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any

from item_jax.data import records
from item_jax.data.images import BadImage
from item_jax.data.records import Record
from item_jax.ingest.images.load import StoredImage
from item_jax.ingest.images.names import MISSING
from item_jax.ingest.row import Rejected, Row


def make_record(
  row: Row | Rejected, image: StoredImage | BadImage
) -> Record | Rejected:
  """Makes a row's record; `image` may be the reason why there is none."""
  if isinstance(row, Rejected):
    return row
  if isinstance(image, BadImage):
    return Rejected(row.number, row.listing_id, str(image))
  return Record(
    row.listing_id, row.product_id, row.title, row.category, image.jpeg
  )


def hints(file: Path, images: str | os.PathLike) -> str:
  """Says what may be wrong with many of the rows that a list names.

  Args:
    file: rejected.csv. images: the folder that was searched.
  """
  found: dict[str, str] = {}
  with open(file, newline="", encoding="utf-8") as listed:
    for _, _, reason in itertools.islice(csv.reader(listed), 1, None):
      kind, _, name = reason.partition(": ")
      if kind == MISSING and kind not in found:
        path = os.path.join(images, name)
        found[kind] = f"The first image that was looked for: {path}\n"
      elif kind.endswith("is not valid UTF-8"):
        found["encoding"] = (
          "Is the catalogue in another encoding, such as Latin-1? It must be"
          " UTF-8: iconv -f LATIN1 -t UTF-8 FILE\n"
        )
  return "".join(found.values())


def reject_duplicate(number: int, listing_id: str) -> Rejected:
  """Rejects a row whose listing id an earlier row has."""
  return Rejected(number, listing_id, "duplicate listing_id")


class Rejections:
  """Writes rejected.csv, and counts the reasons by kind."""

  def __init__(self, folder: Path):
    # Ids may hold invalid UTF-8; that is a reason to reject them.
    self._file = open(  # noqa: SIM115 - closed by __exit__
      folder / records.REJECTED,
      "w",
      newline="",
      encoding="utf-8",
      errors="backslashreplace",
    )
    self._lines = csv.writer(self._file, lineterminator="\n")
    self._lines.writerow(("row", "id", "reason"))
    self._kinds: Counter[str] = Counter()

  def __enter__(self) -> "Rejections":
    return self

  def __exit__(self, *_) -> None:
    self._file.close()

  def add(self, rejected: Rejected) -> None:
    """Writes a row; rows come in the catalogue's order."""
    self._lines.writerow(rejected)
    self._kinds[rejected.reason.partition(": ")[0]] += 1

  def total(self) -> int:
    """Counts the rows rejected so far."""
    return self._kinds.total()

  def outcome(self, read: int, fingerprint: dict[str, str]) -> dict[str, Any]:
    """Returns what the rest of preparing needs to know about all rows."""
    return {
      "read": read,
      "rejected": self.total(),
      "reasons": dict(self._kinds.most_common()),
      "fingerprint": fingerprint,
    }
