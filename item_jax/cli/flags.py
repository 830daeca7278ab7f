"""Flags that several commands share."""

import argparse
from collections.abc import Sequence

from item_jax.cli import places
from item_jax.errors import UserError
from item_jax.ingest.readers.cells import MISSING

# Of --split_of and --unseen_by.
TRAINED = places.Local("run=RUN and DATA are of this machine", text=True)


def add_missing(parser: argparse.ArgumentParser) -> None:
  """Adds the flag for words that stand for a missing value."""
  parser.add_argument(
    "--missing",
    type=lambda text: tuple(w.strip().lower() for w in text.split(",") if w),
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


def check_resamples(count: int) -> None:
  """Refuses a bootstrap of no resamples: a table shows intervals."""
  if count < 1:
    raise UserError(f"{count} resamples; expected 1 or more")
