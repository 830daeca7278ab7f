"""Finds the files that a catalogue consists of."""

import glob
import os
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from item_jax.errors import NotFoundError, UserError
from item_jax.ingest.readers import delimited
from item_jax.ingest.readers.formats import READERS
from item_jax.ingest.row import SPLIT_ALIASES

_NONE = "__HIVE_DEFAULT_PARTITION__"
_SPLITS = "|".join(("train", "val", "test", *SPLIT_ALIASES))
# train.csv, test_1.jsonl, validation-00000-of-00004.parquet, as data sets of
# Hugging Face are stored; a file's own hash may follow.
_SPLIT = re.compile(rf"({_SPLITS})([-_]\d+(-of-\d+(-[0-9a-f]+)?)?)?")
# Folders by which a table keeps rows that are deleted or replaced.
_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}


def find_files(
  catalogue: str | os.PathLike, *, any_name: bool = False
) -> list[tuple[Path, dict[str, Any]]]:
  """Lists a catalogue's files, each with the columns in its folders' names.

  Args:
    catalogue: a file; a folder of parts, as Spark writes them; or a pattern
      such as parts/*.csv.
    any_name: whether the files of a folder may have other endings than those of
      `READERS`.

  Raises:
    NotFoundError: there is no such file.
    UserError: a folder holds none of a known kind, or a table that is more than
      its files.
  """
  path = Path(catalogue)
  if path.is_file():
    return [(path, _partition(path))]
  if path.is_dir():
    parts = sorted(path.rglob("*"))
    if log := next((part for part in parts if part.name in _LOGS), None):
      raise UserError(
        f"{log.parent} is a table of {_LOGS[log.name]}, which keeps files of"
        " rows that are deleted or replaced: expected a copy of it as plain"
        " Parquet"
      )
    found = [
      (part, _partition(part))
      for part in parts
      if part.is_file()
      and not any(map(_is_hidden, part.relative_to(path).parts))
      and (any_name or delimited.suffix(part) in READERS)
    ]
    if not found:
      raise UserError(
        f"{path} is a folder without a file named {', '.join(READERS)};"
        " --format says what others are, as --format=webdataset of .tar"
      )
    return found
  paths = sorted(glob.glob(os.fspath(catalogue), recursive=True))
  if not paths:
    raise NotFoundError(f"no catalogue {path}: there is no such file")
  return [file for one in paths for file in find_files(one, any_name=any_name)]


def find_folders(paths: Iterable[str | os.PathLike]) -> list[Path]:
  """Lists the folders of files and patterns, each once; the current of none."""
  folders = {}
  for path in paths:
    folder = Path(path).parent
    while any(sign in folder.name for sign in "*?[") and not folder.is_dir():
      folder = folder.parent
    folders[folder] = None
  return list(folders) or [Path()]


def _is_hidden(name: str) -> bool:
  """Whether a program's own: _SUCCESS, _temporary, .crc; not _year=2024."""
  return name[0] == "." or (name[0] == "_" and "=" not in name)


def check_once(files: Iterable[Path], *, any_name: bool) -> None:
  """Refuses a file given twice, and one table in two forms."""
  seen: dict[str, Path] = {}
  for path in files:
    name = os.path.realpath(path)
    if not any_name:  # items.csv, items.csv.gz and items.parquet
      for _ in range(1 + (path.suffix.lower() in delimited.PACKED)):
        name = os.path.splitext(name)[0]
    if name in seen:
      raise UserError(
        f"{seen[name]} and {path} seem to be the same rows twice: expected"
        " parts of one table, each once"
      )
    seen[name] = path


def find_splits(files: Sequence[Path]) -> list[str]:
  """Lists the split in each file's name or folder; [] unless there are several.

  Raises:
    UserError: some files have a split in their names, and others none.
  """
  names = [_find_split(f.name) or _find_split(f.parent.name) for f in files]
  if len({*names} - {""}) < 2:
    return []
  if "" in names:
    lacking = files[names.index("")]
    named = next(f for f, name in zip(files, names, strict=True) if name)
    raise UserError(
      f"{named} has a split in its name, but {lacking} has none: expected one"
      " in each file's name, or a column split"
    )
  return names


def _find_split(name: str) -> str:
  found = _SPLIT.fullmatch(name.lower().partition(".")[0])
  return SPLIT_ALIASES.get(found[1], found[1]) if found else ""


def _partition(path: Path) -> dict[str, Any]:
  """Returns the columns in the names of folders."""
  pairs = (part.partition("=") for part in path.parts[:-1] if "=" in part)
  return {
    name: None if value == _NONE else urllib.parse.unquote(value)
    for name, _, value in pairs
  }
