"""`item-jax fuse` joins vectors of several models."""

from item_jax.cli import places
from item_jax.cli.flags import add_data, add_overwrite, call
from item_jax.errors import UserError
from item_jax.object_store.uploads import Layout

_FUSED = (*places.EXPORTED, "sparse.npz", "words.txt", "transform-*.npz")
_OUT = places.Out(Layout("meta.json", _FUSED, sign=b'"parts":'))


def add(command) -> None:
  sub = command("fuse", "late fusion of vectors of the same split")
  sub.add_argument(
    "parts",
    type=places.SOURCE,
    nargs="+",
    metavar="PART",
    help=f"two or more; of two exports the images' first. {places.SOURCES}",
  )
  sub.add_argument(
    "--out", type=_OUT, required=True, help="the folder to write"
  )
  how = sub.add_mutually_exclusive_group()
  how.add_argument(
    "--image_weight",
    "--share",
    type=float,
    default=0.5,
    help="of the first of two parts, from 0 to 1; the second has the rest",
  )
  how.add_argument(
    "--weights",
    type=float,
    nargs="+",
    metavar="WEIGHT",
    help="of each part; default: the same",
  )
  how.add_argument(
    "--tune",
    type=places.SOURCE,
    nargs="+",
    metavar="VAL_PART",
    help="the same parts of validation: take the weights of tenths with the"
    " best MAP@10 there; tfidf and thumbnail are made of the split val",
  )
  how.add_argument(
    "--like",
    type=places.COPY,
    metavar="FUSION",
    help="take the weights and transforms of another split's fusion",
  )
  sub.add_argument(
    "--fit",
    type=places.SOURCE,
    nargs="+",
    metavar="TRAIN_PART",
    help="the same parts of training, with --tune: centre or whiten each dense"
    " part by them, where its MAP@10 on validation gains",
  )
  sub.add_argument(
    "--transform",
    choices=("auto", "none"),
    help="none: leave the parts as they are, whatever --fit; default: auto",
  )
  add_data(sub)
  add_overwrite(sub, "replace another export")


def run(args, rest) -> None:
  from item_jax.evaluation.fusion import fuse

  if args.transform == "auto" and not args.fit:
    raise UserError(
      "--transform=auto learns from the training split: --fit names the parts"
      " of it"
    )
  fit_on = None if args.transform == "none" else args.fit
  print(call(fuse, args, *args.parts, tune_on=args.tune, fit_on=fit_on))
