"""Flags that several commands share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from item_jax.errors import UserError
from item_jax.ingest.readers.cells import MISSING


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


def read_exports(pairs: Sequence[str]) -> dict[str, Path]:
  """Parses arguments NAME=FOLDER into {NAME: FOLDER}."""
  exports: dict[str, Path] = {}
  for pair in pairs:
    name, equals, folder = pair.partition("=")
    if not equals:
      raise UserError(f"export {pair!r}: expected NAME=FOLDER")
    if name in exports:
      raise UserError(f"export {pair!r}: {name!r} is {exports[name]} already")
    exports[name] = Path(folder)
  return exports


def check_resamples(count: int) -> None:
  """Refuses a bootstrap of no resamples: a table shows intervals."""
  if count < 1:
    raise UserError(f"{count} resamples; expected 1 or more")
