"""`item-jax variants` measures how finely similar products are told apart."""

from item_jax.cli import places
from item_jax.cli.flags import (
  add_data,
  add_resamples,
  call,
  check_outputs,
  read_exports,
  show,
)


def add(command) -> None:
  sub = command(
    "variants",
    "how finely embeddings tell products apart that differ in little",
  )
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="+",
    metavar="NAME=SOURCE",
    help=f"of one split; {places.SOURCES}",
  )
  sub.add_argument(
    "--variants",
    type=places.COPY,
    required=True,
    help="CSV: product, variant, differs (a path, as in a category); synthesize"
    " writes one",
  )
  add_data(sub)
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the result")
  add_resamples(sub)


def run(args, rest) -> None:
  from item_jax.evaluation.variants import compare_variants

  check_outputs(args, args.json)
  exports = read_exports(args.exports)
  show(call(compare_variants, args, exports, args.variants), args)
