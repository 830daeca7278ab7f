"""`item-jax fuse`: exports of a photo's and a title's model in, one of both
out."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("fuse", "late fusion of two exports of the same split")
  sub.add_argument("image", type=places.COPY, help="the photos' export")
  sub.add_argument("title", type=places.COPY, help="the titles' export")
  sub.add_argument(
    "--out", type=places.FUSION_OUT, required=True, help="the folder to be"
  )
  how = sub.add_mutually_exclusive_group()
  how.add_argument(
    "--share",
    type=float,
    default=0.5,
    help="the photo's, from 0 to 1; the title has the rest",
  )
  how.add_argument(
    "--tune",
    type=places.COPY,
    nargs=2,
    metavar=("VAL_IMAGE", "VAL_TITLE"),
    help="exports of validation: take the share of 0, .1, ... 1 with the best"
    " MAP@10 there",
  )
  sub.add_argument(
    "--overwrite", action="store_true", help="replace another export"
  )


def run(args, rest) -> None:
  from item_jax.evaluation.fusion import fuse_exports

  fuse_exports(
    args.image,
    args.title,
    out=args.out,
    share=args.share,
    tune_on=args.tune,
    overwrite=args.overwrite,
  )
