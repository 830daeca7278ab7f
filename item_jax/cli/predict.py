"""`item-jax predict` names the leaf categories of listings."""

from item_jax.cli import places
from item_jax.cli.flags import call, check_outputs
from item_jax.errors import UserError


def add(command) -> None:
  sub = command(
    "predict",
    "a trained model's leaf categories: of a split, or of one listing",
  )
  sub.add_argument(
    "--workdir",
    type=places.RUN,
    required=True,
    help="of a run with task='category'",
  )
  sub.add_argument("--data", type=places.DATA, help="from prepare; needs --out")
  sub.add_argument("--split", default="test", help="of the data")
  sub.add_argument(
    "--out",
    type=places.FILE_OUT,
    metavar="FILE.csv",
    help="a line for each listing",
  )
  sub.add_argument(
    "--image",
    type=places.Local("copy the image here", text=True),
    action="append",
    help="an image file instead of --data; repeatable; '' where one is missing",
  )
  sub.add_argument(
    "--title", action="append", help="the title of each image, in their order"
  )
  sub.add_argument("--top", type=int, default=5, help="categories to name")
  sub.add_argument(
    "--step", type=int, help="checkpoint; default: the best; 0: untrained"
  )
  sub.add_argument("--batch_size", type=int, default=256, help="rows at a time")
  sub.add_argument("--json", type=places.FILE_OUT, help="scores of a split")


def run(args, rest) -> None:
  from item_jax.inference import predict

  single = args.image is not None or args.title is not None
  if single == (args.data is not None):
    raise UserError("predict needs either --data or --image and --title")
  if single and (args.out or args.json):
    raise UserError("--out and --json are of a split: they need --data")
  if single:
    given = {"images": args.image, "titles": args.title}
    print(call(predict.predict_listings, args, args.workdir, **given))
    return
  if args.out is None:
    raise UserError("predict --data needs --out FILE.csv")
  check_outputs(args, args.out, args.json)
  found = call(predict.predict_split, args, args.workdir)
  found.write_csv(args.out)
  if args.json and found.summary:
    found.write_json(args.json)
  print(f"{args.out}: {len(found.ids):,} listings, step {found.step}")
  print(found)
