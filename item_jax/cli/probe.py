"""`item-jax probe` scores embeddings by how well they tell the category."""

from item_jax.cli import places
from item_jax.cli.flags import (
  add_data,
  add_resamples,
  call,
  check_outputs,
  show,
)
from item_jax.files import check_out_folder


def add(command) -> None:
  sub = command("probe", "score embeddings: leaf category")
  sub.add_argument(
    "export", type=places.SOURCE, help=f"what is scored: {places.SOURCES}"
  )
  sub.add_argument(
    "--train",
    type=places.SOURCE,
    required=True,
    help="the export that is learnt from; tfidf and thumbnail are made of the"
    " split train",
  )
  sub.add_argument(
    "--val",
    type=places.SOURCE,
    help="the export that settings are chosen by; default: a tenth of the"
    " training products",
  )
  add_data(sub)
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the scores")
  sub.add_argument(
    "--out",
    type=places.Local("take a folder here for the tables, and copy it"),
    metavar="DIR",
    help="folder for tables by category, confusion matrices and pictures",
  )
  add_resamples(sub)


def run(args, rest) -> None:
  from item_jax.evaluation.probe import probe

  check_outputs(args, args.json)
  check_out_folder(args.out)
  found = call(probe, args, args.train, args.val, args.export)
  if args.out:
    found.write_tables(args.out)
  show(found, args)
  if args.out:
    print(f"{args.out}: tables and pictures")
