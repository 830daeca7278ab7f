"""`item-jax report`: exports in, one table out."""

from collections.abc import Sequence
from pathlib import Path

from item_jax.cli import places
from item_jax.errors import UserError


def add(command) -> None:
  sub = command("report", "one table: exports beside the trivial baselines")
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="*",
    metavar="NAME=FOLDER",
    help="exports of the split",
  )
  sub.add_argument(
    "--data", type=places.DATA, required=True, help="from prepare"
  )
  sub.add_argument("--split", default="test", help="of the data")
  sub.add_argument("--out", type=places.FILE_OUT, help="results.json")


def run(args, rest) -> None:
  from item_jax.evaluation.report import report

  report(args.data, args.split, read_exports(args.exports), args.out)


def read_exports(pairs: Sequence[str]) -> dict[str, Path]:
  """{NAME: FOLDER} of words NAME=FOLDER."""
  exports: dict[str, Path] = {}
  for pair in pairs:
    name, equals, folder = pair.partition("=")
    if not equals:
      raise UserError(f"export {pair!r}: expected NAME=FOLDER")
    if name in exports:
      raise UserError(f"export {pair!r}: {name!r} is {exports[name]} already")
    exports[name] = Path(folder)
  return exports
