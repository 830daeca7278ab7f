"""`item-jax report` compares exports with each other and the baselines."""

from item_jax.cli import places
from item_jax.cli.flags import read_exports
from item_jax.files import check_folders


def add(command) -> None:
  sub = command("report", "one table: exports beside the baselines")
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="*",
    metavar="NAME=SOURCE",
    help=f"of the split; {places.SOURCES}",
  )
  sub.add_argument(
    "--data", type=places.DATA, required=True, help="from prepare"
  )
  sub.add_argument("--split", default="test", help="of the data")
  sub.add_argument("--out", type=places.FILE_OUT, help="results.json")


def run(args, rest) -> None:
  from item_jax.evaluation.report import report

  check_folders(args.out)
  found = report(args.data, args.split, read_exports(args.exports))
  print(found)
  if args.out:
    found.write_json(args.out)
