"""A checked row and its photo in, a record or the reason for none out.

Whoever prepares, one process, many, or the workers of a Beam runner, does with
a row what is said here.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from item_jax.data import records
from item_jax.data.images import BadImage
from item_jax.data.records import Record
from item_jax.ingest.images.load import StoredImage
from item_jax.ingest.row import Rejected, Row


def make_record(
  row: Row | Rejected, stored: StoredImage | BadImage
) -> Record | Rejected:
  """What becomes of a row: `stored` is its photo, or why there is none."""
  if isinstance(row, Rejected):
    return row
  if isinstance(stored, BadImage):
    return Rejected(row.number, row.listing_id, str(stored))
  return Record(
    row.listing_id, row.product_id, row.title, row.category, stored.jpeg
  )


def reject_duplicate(number: int, listing_id: str) -> Rejected:
  """For a row that could be stored, was not an earlier one of its id."""
  return Rejected(number, listing_id, "duplicate listing_id")


class Rejections:
  """rejected.csv while it is written; counts the reasons by kind."""

  def __init__(self, folder: Path):
    # Ids may hold what is no UTF-8; that is what they are rejected for.
    self._file = open(  # noqa: SIM115 - closed by __exit__
      folder / records.REJECTED,
      "w",
      newline="",
      encoding="utf-8",
      errors="backslashreplace",
    )
    self._lines = csv.writer(self._file, lineterminator="\n")
    self._lines.writerow(("row", "id", "reason"))
    self._kinds = Counter()

  def __enter__(self) -> "Rejections":
    return self

  def __exit__(self, *_) -> None:
    self._file.close()

  def add(self, rejected: Rejected) -> None:
    """Rejected rows come in the catalogue's order."""
    self._lines.writerow(rejected)
    self._kinds[rejected.reason.partition(": ")[0]] += 1

  def total(self) -> int:
    return self._kinds.total()

  def outcome(self, read: int, fingerprint: dict[str, str]) -> dict[str, Any]:
    """What the rest of preparing must know of all rows."""
    return {
      "read": read,
      "rejected": self.total(),
      "reasons": dict(self._kinds.most_common()),
      "fingerprint": fingerprint,
    }
