"""Flags that several commands share."""

import argparse
import inspect
import itertools
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from item_jax.cli import places
from item_jax.errors import UserError
from item_jax.files import check_folders
from item_jax.ingest.readers.cells import MISSING

# Of --split_of and --unseen_by.
TRAINED = places.Local("run=RUN and DATA are of this machine", text=True)

T = TypeVar("T")


def call(
  work: Callable[..., T], args: argparse.Namespace, *given: Any, **more: Any
) -> T:
  """Calls `work` with the flags that its keyword-only arguments are named as.

  Args:
    more: arguments that are no flags, or not as they were given.
  """
  options = {
    name: getattr(args, name)
    for name, found in inspect.signature(work).parameters.items()
    if found.kind is found.KEYWORD_ONLY and hasattr(args, name)
  }
  return work(*given, **options | more)


def show(found: Any, args: argparse.Namespace) -> None:
  """Writes a result to the file that --json names, and prints it.

  In this order: who reads what is printed may stop reading, and end us.
  """
  if args.json:
    found.write_json(args.json)
  print(found)


def check_outputs(
  args: argparse.Namespace, *paths: str | os.PathLike | None
) -> None:
  """Refuses output files that can't be written, or that the command reads.

  Args:
    args: the flags, these files among them.

  Raises:
    UserError, NotFoundError: as `check_folders`; or a path is that of a file
      that another flag names, or of one that a folder named by it records.
  """
  check_folders(*paths)
  outputs = [Path(path) for path in paths if path and Path(path).exists()]
  for value in vars(args).values():
    if any(value is path for path in paths):
      continue
    for text in places.listed(value):
      # A=FOLDER, or X.npy:ITEMS.csv
      parts = re.split(r"=|(?<=\.npy):", str(text))
      for read in itertools.chain.from_iterable(map(_read_files, parts)):
        if any(read.samefile(path) for path in outputs):
          raise UserError(
            f"{read} is read by this command: expected another file to write to"
          )


def _read_files(place: str) -> list[Path]:
  """Returns the file of that name, or those that an export records."""
  files = [Path(place)]
  if os.path.isdir(place):
    record = files[0] / "meta.json"
    try:
      names = json.loads(record.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):  # no export
      return []
    files = [record, *(record.parent / name for name in names)]
  # Of os: a title of 300 letters is no file, where Path raises.
  return [file for file in files if os.path.isfile(file)]


def add_config(
  parser: argparse.ArgumentParser, text: str = "the run's", **options: Any
) -> None:
  """Adds the flag for the config of a run."""
  parser.add_argument(
    "--config",
    type=places.CONFIG,
    metavar="FILE[:VARIANT]",
    help=text,
    **options,
  )


def add_overwrite(parser: argparse.ArgumentParser, text: str) -> None:
  """Adds the flag for replacing what an earlier command wrote."""
  parser.add_argument("--overwrite", action="store_true", help=text)


def add_missing(parser: argparse.ArgumentParser) -> None:
  """Adds the flag for words that stand for a missing value."""
  parser.add_argument(
    "--missing",
    type=lambda text: tuple(text.split(",")),
    default=",".join(MISSING),
    metavar="WORDS",
    help="what stands for a missing value, in any case, with commas between;"
    " '' for nothing but empty cells",
  )


def add_data(parser: argparse.ArgumentParser) -> None:
  """Adds the flags for the catalogue that baselines are made of."""
  parser.add_argument(
    "--data", type=places.DATA, help="from prepare; of tfidf and thumbnail"
  )
  parser.add_argument(
    "--split", default="test", help="of the data (default: %(default)s)"
  )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
  """Adds the flags for which checkpoint of a run, in which space."""
  parser.add_argument(
    "--step", type=int, help="checkpoint; default: the best; 0: untrained"
  )
  parser.add_argument(
    "--like",
    type=places.COPY,
    metavar="EXPORT",
    help="take the checkpoint, pool and transform of an export of the run",
  )


def add_resamples(
  parser: argparse.ArgumentParser, seed: str = "of the resamples"
) -> None:
  """Adds the flags for intervals."""
  parser.add_argument(
    "--bootstrap", type=_resamples, default=1000, help="resamples"
  )
  parser.add_argument("--seed", type=int, default=0, help=seed)


def _resamples(text: str) -> int:
  """How many: a table shows intervals, which take one or more."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text} resamples; expected 1 or more")
  return int(text)


def add_limit(parser: argparse.ArgumentParser) -> None:
  """Adds the flag for a part of a split."""
  parser.add_argument(
    "--limit",
    type=int,
    metavar="ROWS",
    help="listings at most, whole products; default: the whole split",
  )


def read_exports(pairs: Sequence[str]) -> dict[str, str]:
  """Parses arguments NAME=SOURCE into {NAME: SOURCE}."""
  exports: dict[str, str] = {}
  for pair in pairs:
    name, equals, source = pair.partition("=")
    if not equals:
      raise UserError(f"export {pair!r}: expected NAME=FOLDER")
    if name in exports:
      raise UserError(f"export {pair!r}: {name!r} is {exports[name]} already")
    exports[name] = source
  return exports
