"""`item-jax probe`: exports of training and test in, what simple classifiers
find of the leaf category out."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("probe", "score embeddings: leaf category")
  sub.add_argument("export", type=places.COPY, help="the export that is scored")
  sub.add_argument(
    "--train",
    type=places.COPY,
    required=True,
    help="the export that is learnt from",
  )
  sub.add_argument(
    "--val",
    type=places.COPY,
    help="the export that settings are chosen by; default: a tenth of the"
    " training products",
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the scores")
  sub.add_argument(
    "--out",
    type=places.Local("take a folder here for the tables, and copy it"),
    metavar="DIR",
    help="folder for tables by category, confusion matrices and pictures",
  )
  sub.add_argument("--bootstrap", type=int, default=1000, help="resamples")
  sub.add_argument("--seed", type=int, default=0, help="of the resamples")


def run(args, rest) -> None:
  from item_jax.evaluation.probe import probe_command

  probe_command(
    args.train,
    args.val,
    args.export,
    json_path=args.json,
    out=args.out,
    bootstrap=args.bootstrap,
    seed=args.seed,
  )
