"""Counts what a data set holds, from its records one by one."""

import array
import contextlib
import hashlib
import os
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from item_jax.data.records import Record, in_order
from item_jax.data.tokenizer import Tokenizer
from item_jax.ingest.images.load import NO_IMAGE, StoredImage
from item_jax.ingest.images.placeholders import find_placeholders
from item_jax.ingest.row import Rejected

TITLE_LENGTH = 59  # positions of the default model: 58 tokens and [SEP]
_BATCH = 10_000  # titles tokenized at once
_LARGEST = 10  # categories named

# One row a listing: the image by its hash, the title also with case folded.
_TABLE = """
  CREATE TABLE rows (
    listing TEXT PRIMARY KEY, product TEXT, split TEXT, category TEXT,
    title TEXT, folded TEXT, image BLOB,
    name TEXT, spelling TEXT, thumbnail BLOB
  )
"""
_INSERT = f"INSERT OR IGNORE INTO rows VALUES ({', '.join('?' * 10)})"
_REJECTED = """
  CREATE TABLE rejected (number INTEGER, listing TEXT, reason TEXT)
"""


@contextlib.contextmanager
def open_statistics(path: str | os.PathLike) -> Iterator["CatalogueStatistics"]:
  """Opens new `CatalogueStatistics`, closed at the end of the block.

  Raises:
    OSError: the disk does not take it, now or later.
  """
  try:
    statistics = CatalogueStatistics(path)
    try:
      yield statistics
    finally:
      statistics.close()
  except sqlite3.OperationalError as error:
    raise OSError(f"{os.fspath(path)}: {error}") from error


class CatalogueStatistics:
  """Collects rows in a temporary database on disk, to keep memory constant."""

  def __init__(self, path: str | os.PathLike):
    self._database = sqlite3.connect(path)
    # It sorts in files beside the database: /var/tmp may be small.
    self._temporary_in(os.path.dirname(os.path.abspath(path)))
    # The database is deleted after the run, so it need not survive a crash.
    self._database.execute("PRAGMA journal_mode = OFF")
    self._database.execute("PRAGMA synchronous = OFF")
    self._database.execute("PRAGMA cache_size = -65536")  # KiB
    self._database.execute(_TABLE)
    self._database.execute(_REJECTED)

  def add(
    self, split: str, record: Record, stored: StoredImage = NO_IMAGE
  ) -> bool:
    """Adds a record, unless one with its listing id is there: then False.

    Args:
      stored: its image, where that is known; else `add_image` adds it.
    """
    listing, product, title, category, image = record
    digest = hashlib.blake2b(image, digest_size=16).digest() if image else None
    values = (
      listing,
      product,
      split,
      category or None,
      title or None,
      title.casefold() or None,
      digest,
      stored.name,
      stored.spelling or None,
      stored.thumbnail or None,
    )
    done = self._database.execute(_INSERT, values)
    return done.rowcount == 1

  def add_image(self, listing: str, stored: StoredImage) -> None:
    """Adds what was not known of an image when its listing was added.

    Of several images of a listing the first counts.
    """
    self._database.execute(
      "UPDATE rows SET name = ?, spelling = ?, thumbnail = ?"
      " WHERE listing = ? AND image IS NOT NULL AND spelling IS NULL",
      (stored.name, stored.spelling, stored.thumbnail, listing),
    )

  def rows(self) -> int:
    """Counts the records added."""
    return self._one("SELECT COUNT(*) FROM rows")[0]

  def reject(self, rejected: Rejected) -> None:
    """Adds a row that is not stored; rows may come in any order."""
    number, *texts = rejected
    # SQLite takes valid Unicode only; rejected.csv escapes in the same way.
    texts = [t.encode("utf-8", "backslashreplace").decode() for t in texts]
    self._database.execute(
      "INSERT INTO rejected VALUES (?, ?, ?)", (number, *texts)
    )

  def rejected(self) -> Iterator[Rejected]:
    """Lists the rejected rows, in the catalogue's order."""
    return map(
      Rejected._make,
      # A shop's row may make several listings: lamp, lamp#2, ..., lamp#10.
      self._database.execute(
        "SELECT * FROM rejected ORDER BY number, LENGTH(listing), listing"
      ),
    )

  def close(self) -> None:
    """Closes the database."""
    self._temporary_in("")  # SQLite keeps the folder for the whole process
    self._database.close()

  def _temporary_in(self, folder: str) -> None:
    quoted = folder.replace("'", "''")
    self._database.execute(f"PRAGMA temp_store_directory = '{quoted}'")

  def has_titles(self) -> bool:
    """Whether any listing of any split has a title."""
    return self._one("SELECT COUNT(title) FROM rows")[0] > 0

  def train_titles(self) -> Iterator[str]:
    """Yields the titles of the split train."""
    for (title,) in self._database.execute(
      "SELECT title FROM rows WHERE split = 'train' AND title IS NOT NULL"
    ):
      yield title

  def image_names(self) -> dict[str, int]:
    """Counts the images found by each way of spelling their names."""
    return dict(
      self._database.execute(
        "SELECT spelling, COUNT(*) AS n FROM rows WHERE spelling IS NOT NULL"
        " GROUP BY spelling ORDER BY n DESC, spelling"
      )
    )

  def compute(self, tokenizer: Tokenizer) -> dict[str, Any]:
    """Computes all statistics; splits without rows are left out."""
    return {
      "rows": self._by_split("COUNT(*)"),
      "products": self._by_split("COUNT(DISTINCT product)"),
      "listings_per_product": self._listings_per_product(),
      "categories": self._categories(),
      "title_tokens": self._title_tokens(tokenizer),
      "image_names": self.image_names(),
      "placeholders": find_placeholders(self._database),
      "missing_image": self._by_split("SUM(image IS NULL)"),
      "missing_title": self._by_split("SUM(title IS NULL)"),
      "under_several_products": {
        "photos": self._shared("image", "product"),
        "titles": self._shared("folded", "product"),
      },
      "in_several_splits": {
        "products": self._shared("product", "split"),
        "photos": self._shared("image", "split"),
        "titles": self._shared("folded", "split"),
      },
    }

  def _one(self, query):
    return self._database.execute(query).fetchone()

  def _by_split(self, what):
    counts = dict(
      self._database.execute(f"SELECT split, {what} FROM rows GROUP BY split")
    )
    return {
      "all": self._one(f"SELECT {what} FROM rows")[0],
      **{split: counts[split] for split in in_order(counts)},
    }

  def _listings_per_product(self):
    sizes = Counter(
      dict(
        self._database.execute(
          "SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM rows"
          " GROUP BY product) GROUP BY n"
        )
      )
    )
    return {
      **_summary(sizes),
      "products_with_several": sum(c for n, c in sizes.items() if n > 1),
    }

  def _categories(self):
    count, missing = self._one(
      "SELECT COUNT(DISTINCT category), SUM(category IS NULL) FROM rows"
    )
    tops = "substr(category || ' > ', 1, instr(category || ' > ', ' > ') - 1)"
    largest = self._database.execute(
      "SELECT category, COUNT(*) AS n FROM rows WHERE category IS NOT NULL"
      f" GROUP BY category ORDER BY n DESC, category LIMIT {_LARGEST}"
    )
    by_split = {}
    for split, path, rows in self._database.execute(
      "SELECT split, category, COUNT(*) FROM rows WHERE category IS NOT NULL"
      " GROUP BY split, category ORDER BY category"
    ):
      by_split.setdefault(split, {})[path] = rows
    return {
      "leaves": count,
      "top_level": self._one(f"SELECT COUNT(DISTINCT {tops}) FROM rows")[0],
      "rows_without": missing,
      "largest": dict(largest.fetchall()),
      "rows": {split: by_split[split] for split in in_order(by_split)},
    }

  def _title_tokens(self, tokenizer):
    lengths = Counter()
    unknown, with_unknown = 0, 0
    seen = array.array("q"), array.array("q")  # hashes of tokens and of titles
    cursor = self._database.execute(
      "SELECT title FROM rows WHERE title IS NOT NULL"
    )
    while batch := cursor.fetchmany(_BATCH):
      titles = [title for (title,) in batch]
      tokens = tokenizer.tokens(titles)
      lengths.update(map(len, tokens))
      counts = [ids.count(tokenizer.unk) for ids in tokens]
      unknown += sum(counts)
      with_unknown += len(counts) - counts.count(0)
      seen[0].extend(hash(tuple(ids)) for ids in tokens)
      seen[1].extend(hash(_same_title(title)) for title in titles)
    total = lengths.total()
    tokens_seen = sum(n * c for n, c in lengths.items())
    cut = sum(c for n, c in lengths.items() if n > TITLE_LENGTH - 1)
    return {
      **_summary(lengths),
      "places": TITLE_LENGTH,
      "cut": cut,
      "cut_share": _fraction(cut, total),
      "unknown": unknown,
      "unknown_share": _fraction(unknown, tokens_seen),
      "titles_with_unknown": with_unknown,
      "titles_with_unknown_share": _fraction(with_unknown, total),
      "titles_as_another": (alike := _count_alike(*seen)),
      "titles_as_another_share": _fraction(alike, total),
    }

  def _shared(self, what, over):
    """Counts the values that are in several groups, and the rows with them."""
    values, rows = self._one(
      "SELECT COUNT(*), SUM(n) FROM (SELECT COUNT(*) AS n FROM rows"
      f" WHERE {what} IS NOT NULL GROUP BY {what}"
      f" HAVING MIN({over}) <> MAX({over}))"
    )
    return {"distinct": values, "rows": rows or 0}


def _same_title(title: str) -> str:
  """Folds what makes no difference to a reader: case, blanks, width."""
  folded = title.lower()
  if not title.isascii():
    folded = unicodedata.normalize("NFKC", title).casefold()
  return " ".join(folded.split())


def _count_alike(tokens: Iterable[int], titles: Iterable[int]) -> int:
  """Counts the listings that have the tokens of a listing with another title.

  Args:
    tokens, titles: 64-bit hashes, one a listing: among ten million different
      ones the chance that any two are equal is one in 300,000.
  """
  pairs, times = np.unique(
    np.stack([np.asarray(tokens), np.asarray(titles)], axis=1),
    axis=0,
    return_counts=True,
  )
  _, group, titles_of = np.unique(
    pairs[:, 0], return_inverse=True, return_counts=True
  )
  return int(times[titles_of[group] > 1].sum())


def _fraction(part: int, whole: int) -> float:
  return round(part / whole, 6) if whole else 0.0


def _summary(counts: Counter) -> dict[str, float]:
  """Computes mean and percentiles (nearest rank) of {number: its count}."""
  total = counts.total()
  if not total:
    return {}
  summary = {"mean": round(sum(n * c for n, c in counts.items()) / total, 3)}
  for percent in (50, 90, 95, 99, 100):
    passed = 0
    for number in sorted(counts):
      passed += counts[number]
      if passed * 100 >= percent * total:
        break
    summary["max" if percent == 100 else f"p{percent}"] = number
  return summary
