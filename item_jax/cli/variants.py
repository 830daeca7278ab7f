"""`item-jax variants`: exports and pairs of products in, how finely they are
told apart out."""

from item_jax.cli import places
from item_jax.cli.report import read_exports


def add(command) -> None:
  sub = command(
    "variants",
    "how finely embeddings tell products apart that differ in little",
  )
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="+",
    metavar="NAME=FOLDER",
    help="exports of one split",
  )
  sub.add_argument(
    "--variants",
    type=places.COPY,
    required=True,
    help="CSV: product, variant, differs (a path, as in a category); synthesize"
    " writes one",
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the result")
  sub.add_argument("--bootstrap", type=int, default=1000, help="resamples")
  sub.add_argument("--seed", type=int, default=0, help="of the resamples")


def run(args, rest) -> None:
  from item_jax.evaluation.variants import compare_variants

  compare_variants(
    read_exports(args.exports),
    args.variants,
    json_path=args.json,
    bootstrap=args.bootstrap,
    seed=args.seed,
  )
