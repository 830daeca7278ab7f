"""`item-jax modality` tells which modality dominates a model's embeddings."""

from item_jax.cli import places
from item_jax.cli.flags import (
  add_checkpoint,
  add_limit,
  add_resamples,
  call,
  check_outputs,
  show,
)


def add(command) -> None:
  sub = command(
    "modality", "which modality dominates a trained model: image or title"
  )
  sub.add_argument(
    "--workdir", type=places.RUN, required=True, help="the run's"
  )
  sub.add_argument(
    "--data", type=places.DATA, help="from prepare; default: the run's own"
  )
  sub.add_argument("--split", default="test", help="of the data")
  add_checkpoint(sub)
  add_limit(sub)
  sub.add_argument(
    "--labels",
    type=places.Local("copy the table here", text=True),
    action="append",
    default=[],
    metavar="FILE:COLUMN",
    help="an attribute to read from embeddings, of a table with ids or"
    " products; repeatable",
  )
  sub.add_argument(
    "--largest",
    type=int,
    default=5,
    help="leaf categories with a line of their own",
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the result")
  sub.add_argument("--batch_size", type=int, default=256, help="rows at a time")
  add_resamples(sub, "of the resamples, and of who gets whose title and image")


def run(args, rest) -> None:
  from item_jax.inference.modality import modality

  check_outputs(args, args.json)
  show(call(modality, args, args.workdir), args)
