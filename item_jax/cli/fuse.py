"""`item-jax fuse` joins an export of images with one of titles."""

from item_jax.cli import places


def add(command) -> None:
  sub = command("fuse", "late fusion of two exports of the same split")
  sub.add_argument("image", type=places.COPY, help="the images' export")
  sub.add_argument("title", type=places.COPY, help="the titles' export")
  sub.add_argument(
    "--out", type=places.FUSION_OUT, required=True, help="the folder to write"
  )
  how = sub.add_mutually_exclusive_group()
  how.add_argument(
    "--image_weight",
    "--share",
    type=float,
    default=0.5,
    help="the image's, from 0 to 1; the title has the rest",
  )
  how.add_argument(
    "--tune",
    type=places.COPY,
    nargs=2,
    metavar=("VAL_IMAGE", "VAL_TITLE"),
    help="exports of validation: take the weight of 0, .1, ... 1 with the best"
    " MAP@10 there",
  )
  sub.add_argument(
    "--overwrite", action="store_true", help="replace another export"
  )


def run(args, rest) -> None:
  from item_jax.evaluation.fusion import fuse

  print(
    fuse(
      args.image,
      args.title,
      out=args.out,
      image_weight=args.image_weight,
      tune_on=args.tune,
      overwrite=args.overwrite,
    )
  )
