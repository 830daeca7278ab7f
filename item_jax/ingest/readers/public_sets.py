"""Reads public data sets of products as they are published, as rows of ours.

Each function below yields the rows of one file; `SETS` names them. A row that
cannot be read is a text, the reason.
"""

import csv
import functools
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from item_jax.errors import UserError
from item_jax.ingest.readers.formats import as_text, opened, parse_object
from item_jax.ingest.readers.parquet import open_parquet, read_parquet
from item_jax.ingest.readers.webdataset import read_webdataset
from item_jax.ingest.row import hash_split

Rows = Iterator[dict[str, Any] | str]


def _table(path: Path, *columns: str, delimiter: str = ",") -> Rows:
  """Reads a table with a header, which must have these columns.

  A row with other columns than the header is a text. A quote that is opened
  and never closed would hold the rest of the file: `strict` refuses it.
  """
  with opened(path) as file:
    rows = csv.reader(as_text(file), delimiter=delimiter, strict=True)
    try:
      names = next(rows, [])
      if not set(columns) <= set(names):
        raise UserError(
          f"{path} has the columns {', '.join(names)[:200]}; expected"
          f" {', '.join(columns)}"
        )
      for row in filter(None, rows):  # an empty line is no row
        if len(row) == len(names):
          yield dict(zip(names, row, strict=True))
        else:
          yield f"{len(row)} columns; expected {len(names)}"
    except csv.Error as error:
      raise UserError(
        f"{path} is broken in line {rows.line_num}: {error}"
      ) from error


def _split(path: Path, product: str) -> str:
  """The split of a set with a file for test: a tenth of the others is val."""
  if re.search(r"(?<![a-z])test(?![a-z])", path.name.lower()):
    return "test"
  return "val" if hash_split(product) == "val" else "train"


def _objects(path: Path, columns: Sequence[str]) -> Rows:
  """Reads JSON lines, or of a .parquet these columns."""
  if path.suffix.lower() == ".parquet":
    names = open_parquet(path).schema_arrow.names
    if lacking := [name for name in columns if name not in names]:
      raise UserError(
        f"{path} has the columns {', '.join(names)[:200]}; expected"
        f" {', '.join(lacking)}"
      )
    for row in read_parquet(path, columns):
      yield dict(zip(columns, row, strict=True))
    return
  with opened(path) as file:
    for line in file:
      if not line.strip():
        continue
      found = parse_object(line)
      yield found if isinstance(found, dict) else f"not readable: {found}"


def _items(path: Path, rows_of: Callable[[dict], Rows], *columns: str) -> Rows:
  """Yields the rows of each object of a file; of an odd one the reason.

  Args:
    columns: of a Parquet file, those that are read.
  """
  for item in _objects(path, columns):
    if isinstance(item, str):
      yield item
      continue
    try:
      rows = list(rows_of(item))
    except _OddItemError as error:
      rows = [str(error)]
    yield from rows


class _OddItemError(Exception):
  """An item whose values are of another form than the set's."""


def _each_image(images: Iterable[str], **cells: Any) -> Rows:
  """Yields a row for each image, as `lamp`, `lamp#2`, ...; one without any."""
  name = cells["listing_id"]
  for number, image in enumerate(dict.fromkeys(images) or [""], start=1):
    own = name if number == 1 or not name else f"{name}#{number}"
    yield {**cells, "listing_id": own, "image": image}


def _listed(
  item: dict, name: str, kind: type | tuple[type, ...] = dict
) -> list[Any]:
  """A list of objects (or texts) by its name; an empty one where it is absent.

  Raises:
    _OddItemError: it is something else.
  """
  found = [] if item.get(name) is None else item[name]
  if not isinstance(found, list) or not all(isinstance(x, kind) for x in found):
    raise _OddItemError(
      f"{name} is {json.dumps(found)[:80]}; expected a list of"
      f" {'objects' if kind is dict else 'texts'}"
    )
  return found


# ---- Amazon Berkeley Objects: listings/metadata/listings_*.json.gz ----


def read_abo(path: Path) -> Rows:
  folder = path.absolute().parent.parent.parent / "images" / "metadata"
  files = folder / "images.csv.gz", folder / "images.csv"
  found = [file for file in files if file.is_file()]
  if not found:
    raise UserError(f"no {files[0]}, which names the images")
  paths = _abo_images(found[0], found[0].stat().st_mtime_ns)

  def rows_of(item: dict) -> Rows:
    names = _listed(item, "item_name")
    english = [n for n in names if str(n.get("language_tag"))[:2] == "en"]
    nodes = _listed(item, "node")
    images = [item.get("main_image_id"), *_listed(item, "other_image_id", str)]
    own = item.get("item_id") or ""
    # One item is sold in several shops, in the language of each.
    shop = item.get("domain_name") or ""
    return _each_image(
      [paths[x] for x in images if isinstance(x, str) and x in paths],
      listing_id=own and f"{shop}/{own}",
      product_id=own,
      title=(english or names or [{}])[0].get("value", ""),
      category=" > ".join(
        str((nodes or [{}])[0].get("node_name") or "").strip("/").split("/")
      ),
    )

  return _items(path, rows_of)


@functools.lru_cache(maxsize=1)  # the same for each of many files
def _abo_images(file: Path, _written: int) -> dict[str, str]:
  """Maps ids to paths below images/small or images/original."""
  rows = _table(file, "image_id", "path")
  return {row["image_id"]: row["path"] for row in rows if isinstance(row, dict)}


# ---- Amazon Reviews 2023: meta_*.jsonl, or Parquet of Hugging Face ----


def read_amazon_reviews_2023(path: Path) -> Rows:
  def rows_of(item: dict) -> Rows:
    images = _sized(item)
    product = item.get("parent_asin") or ""
    return _each_image(
      _listed({"an image": [x for x in images if x]}, "an image", str),
      listing_id=product,
      product_id=product,
      title=item.get("title") or "",
      category=" > ".join(_listed(item, "categories", str)),
    )

  columns = "parent_asin", "title", "categories", "images"
  return _items(path, rows_of, *columns)


def _sized(item: dict) -> list[Any]:
  """The largest of each image: of a list of objects, or an object of lists."""
  images = item.get("images")
  if not isinstance(images, dict):
    listed = _listed(item, "images")
    return [one.get("hi_res") or one.get("large") for one in listed]
  high, large = (
    _listed(images, name, (str, type(None))) for name in ("hi_res", "large")
  )
  if high and large and len(high) != len(large):
    raise _OddItemError(
      f"images has {len(high)} hi_res and {len(large)} large; expected as many"
    )
  pairs = itertools.zip_longest(high, large)
  return [one or other for one, other in pairs]


# ---- Tables ----


def read_shopee(path: Path) -> Rows:
  """train.csv; the images lie in train_images."""
  names = "posting_id", "label_group", "image", "title"
  ours = "listing_id", "product_id", "image", "title"
  for row in _table(path, *names):
    if isinstance(row, dict):
      row = {our: row[name] for our, name in zip(ours, names, strict=True)}
    yield row


def read_stanford_online_products(path: Path) -> Rows:
  """Ebay_train.txt and Ebay_test.txt; there are no titles."""
  for row in _table(path, "image_id", "class_id", "path", delimiter=" "):
    if isinstance(row, str):
      yield row
      continue
    yield {
      "listing_id": row["image_id"],
      "product_id": row["class_id"],
      "image": row["path"],
      "category": row["path"].partition("_final")[0],
      "split": _split(path, row["class_id"]),
    }


def read_fashion200k(path: Path) -> Rows:
  """labels/*_detect_all.txt: path, score and description, with tabs between.

  women/dresses/casual_dresses/PRODUCT/PRODUCT_0.jpeg
  """
  with opened(path) as file:
    for line in as_text(file):
      parts = line.rstrip("\r\n").split("\t")
      levels = parts[0].split("/")
      if len(parts) != 3 or len(levels) < 3:
        yield f"expected path, score and description: {line.strip()[:80]}"
        continue
      yield {
        "listing_id": os.path.splitext(levels[-1])[0],
        "product_id": levels[-2],
        "image": parts[0],
        "title": parts[2],
        "category": " > ".join(levels[:-2]),
        "split": _split(path, levels[-2]),
      }


SETS: dict[str, Callable[[Path], Rows]] = {
  "abo": read_abo,
  "amazon_reviews_2023": read_amazon_reviews_2023,
  "fashion200k": read_fashion200k,
  "shopee": read_shopee,
  "stanford_online_products": read_stanford_online_products,
  "webdataset": read_webdataset,
}
