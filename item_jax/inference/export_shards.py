"""Holds an export's folder while it is written: its plan and its shards.

A folder without meta.json is not finished. At whatever point a call was killed,
the same call continues the folder. A shard is parts/NNNNN.npy and, written
after it, parts/NNNNN.json with the rows' items and the other's SHA-256.
"""

import contextlib
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.data.records import BadRecord, Source
from item_jax.errors import UserError
from item_jax.evaluation.items import find_export_damage
from item_jax.files import (
  CorruptError,
  exclusive_lock,
  read_checksummed,
  write_bytes,
  write_checksummed,
)

_LOCK = "lock"  # of files.exclusive_lock
_SPACE = ("space.json", "space.npz")  # of inference.space


class Plan(NamedTuple):
  """What an export is of; a second call goes on only with the same."""

  format: int
  step: int
  checkpoint: str
  tokenizer: str
  preprocessing: str
  data: str
  split: str
  modality: str
  dtype: str
  rows: int
  dims: int
  shard_rows: int  # all shards but the last have as many
  space: str | None = None  # how vectors were pooled and transformed, if so
  # {"rate", "seed"} of `robustness.mix`, where listings lose a side
  drop: dict[str, Any] | None = None

  def to_dict(self) -> dict[str, Any]:
    """Returns the fields; `space` and `drop` only where there is one."""
    fields = self._asdict()
    for name in ("space", "drop"):
      if fields[name] is None:
        del fields[name]
    return fields


class Item(NamedTuple):
  """What is written of a row beside its embedding."""

  id: str
  product: str
  category: str
  title: str
  # 1 or 0; the null embedding does not show it. 0 of a side that was dropped.
  has_image: int
  has_title: int
  unreadable: int  # not a column of items.csv


COLUMNS = Item._fields[:-1]


def sees_nothing(item: Item, modality: str) -> bool:
  """Whether a row has nothing of what a model is shown."""
  return not {
    "both": item.has_image or item.has_title,
    "image": item.has_image,
    "title": item.has_title,
  }[modality]


def read_item(source: Source, split: str, row: int) -> Item:
  """Reads a row's item; "test[17]" is the id of an unreadable one."""
  try:
    record = source[row]
  except BadRecord:
    return Item(f"{split}[{row}]", "", "", "", 0, 0, 1)
  return Item(
    record.listing_id,
    record.product_id,
    record.category,
    record.title,
    int(bool(record.image)),
    int(bool(record.title)),
    0,
  )


@contextlib.contextmanager
def exclusive_folder(out: Path) -> Iterator[None]:
  """Allows one call at a time in an export's folder.

  Raises:
    UserError: another is at work there, or it is no export's.
  """
  # What a call that was killed at its start may leave, and nothing else.
  early = {_LOCK, "plan.json", "plan.json.part", "meta.json"}
  early |= {name + end for name in _SPACE for end in ("", ".part")}
  found = {path.name for path in out.iterdir()} if out.exists() else set()
  if found - early and not found & {"plan.json", "meta.json"}:
    raise UserError(f"{out} is not empty and holds no export")
  with exclusive_lock(out, what="export"):
    try:
      yield
    finally:
      (out / _LOCK).unlink(missing_ok=True)


def acquire(
  out: Path,
  plan: Plan,
  *,
  overwrite: bool,
  notify: Callable[[int], None] = lambda number: None,
) -> list[int] | None:
  """Takes the folder for this export.

  Args:
    notify: is called with each shard that is there already, before it is read.

  Returns:
    The shards that are not there yet, or None where all is done already.

  Raises:
    UserError: the folder holds another export, or a damaged one.
  """
  finished, begun, odd = out / "meta.json", out / "plan.json", ""
  if finished.exists():
    odd = _differences(finished, plan) or next(find_export_damage(out), "")
    if not odd:
      tidy(out)  # in case the call that finished was killed before it could
      return None
  elif begun.exists():
    odd = _differences(begun, plan)
    # Of another version's size shards are written anew.
    if not odd and read_checksummed(begun).get("shard_rows") == plan.shard_rows:
      return [
        n for n in range(count(plan)) if not _is_good(out, plan, n, notify)
      ]
  if odd and not overwrite:
    raise UserError(f"{odd}; give --overwrite or another --out")
  # In this order, wherever it is cut off: the folder names its export, no
  # shard is of another plan, and nothing half replaced looks finished.
  _remove_parts(out)
  write_checksummed(begun, plan.to_dict())
  finished.unlink(missing_ok=True)
  return list(range(count(plan)))


def check_free(out: Path, plan: Plan) -> None:
  """Raises UserError where another export is in the folder.

  Beside a finished one a plan is what a killed call left: it says nothing.
  """
  there = [n for n in ("meta.json", "plan.json") if (out / n).exists()]
  if there and (odd := _differences(out / there[0], plan)):
    raise UserError(f"{odd}; give --overwrite or another --out")


def check_seen(out: Path, plan: Plan) -> None:
  """Raises UserError where what process 0 acquired is not seen."""
  path = out / "plan.json"
  if not path.exists() or _differences(path, plan):
    raise UserError(
      f"{path}, which process 0 has written, is not seen here: all processes"
      " need the same folder, on a disk that they share"
    )


def _differences(path: Path, plan: Plan) -> str:
  """Describes how another export's plan differs from this one; "" if not.

  How many rows a shard has makes no other export.
  """
  try:
    before = read_checksummed(path)
  except CorruptError as error:
    return str(error)
  differing = {
    k: (before.get(k), v)
    for k, v in plan._asdict().items()
    if before.get(k) != v and k != "shard_rows"
  }
  if not differing:
    return ""
  return (
    f"{path.parent} holds another export, differing (there, asked) in"
    f" {differing}"
  )


def tidy(out: Path) -> None:
  """Removes what a finished export has no more use for."""
  for name in ("plan.json", *_SPACE):
    (out / name).unlink(missing_ok=True)
  _remove_parts(out)


def _remove_parts(out: Path) -> None:
  if (out / "parts").exists():
    shutil.rmtree(out / "parts")


def count(plan: Plan) -> int:
  return -(-plan.rows // plan.shard_rows)


def rows_of(plan: Plan, number: int) -> range:
  """The rows of the split that a shard holds."""
  first = number * plan.shard_rows
  return range(first, min(first + plan.shard_rows, plan.rows))


def save(
  out: Path,
  plan: Plan,
  number: int,
  rows_ND: np.ndarray,
  items: list[Item],
) -> None:
  """Writes a shard; until the second file is there, there is none."""
  file = io.BytesIO()
  # Row after row, whatever order the array has in memory.
  rows_ND = np.ascontiguousarray(rows_ND, np.float32)
  np.save(file, rows_ND, allow_pickle=False)
  content = file.getvalue()
  vectors, known = _paths(out, number)
  write_bytes(vectors, content)
  hashed = hashlib.sha256(content).hexdigest()
  # With the plan: a process that outlived its call may write into another's.
  shard = {"plan": plan.to_dict(), "sha256": hashed, "items": items}
  write_checksummed(known, shard)


def _paths(out: Path, number: int) -> tuple[Path, Path]:
  name = out / "parts" / f"{number:05d}"
  return name.with_suffix(".npy"), name.with_suffix(".json")


def _load(out: Path, plan: Plan, number: int) -> tuple[np.ndarray, list[Item]]:
  """A shard as it was saved; FileNotFoundError or CorruptError otherwise."""
  vectors, known = _paths(out, number)
  shard = read_checksummed(known)
  if shard.get("plan") != plan.to_dict():
    raise CorruptError(f"{known} is of another export")
  content = vectors.read_bytes()
  if hashlib.sha256(content).hexdigest() != shard["sha256"]:
    raise CorruptError(f"{vectors} was altered: its SHA-256 differs")
  rows_ND = np.load(io.BytesIO(content), allow_pickle=False)
  return rows_ND, [Item(*item) for item in shard["items"]]


def _is_good(out: Path, plan: Plan, number: int, notify) -> bool:
  notify(number)
  try:
    _load(out, plan, number)
  except (FileNotFoundError, CorruptError):
    return False
  return True


def join(
  out: Path, plan: Plan, notify: Callable[[int], None] = lambda number: None
) -> Iterator[Item]:
  """Writes embeddings.npy and items.csv of all shards, and yields the items.

  Args:
    notify: is called with each shard before it is read.

  Raises:
    CorruptError: a shard was altered since it was written.
  """
  paths = (out / "embeddings.npy", out / "items.csv")
  parts = [path.with_name(path.name + ".part") for path in paths]
  # Not a memory map: on a full disk writing to one kills without a word.
  with (
    parts[0].open("wb") as vectors,
    parts[1].open("w", newline="", encoding="utf-8") as table,
  ):
    np.lib.format.write_array_header_1_0(
      vectors,
      {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
        "fortran_order": False,
        "shape": (plan.rows, plan.dims),
      },
    )
    lines = csv.writer(table)
    lines.writerow(COLUMNS)
    for number in range(count(plan)):
      notify(number)
      rows_ND, items = _load(out, plan, number)
      vectors.write(rows_ND.tobytes())
      lines.writerows(item[: len(COLUMNS)] for item in items)
      yield from items
    for file in (vectors, table):
      file.flush()
      os.fsync(file.fileno())
  for part, path in zip(parts, paths, strict=True):
    part.replace(path)
