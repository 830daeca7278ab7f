"""`item-jax robustness` scores queries that lack a side, changed queries, and
runs in catalogues of another domain."""

from item_jax.cli import places
from item_jax.cli.flags import (
  add_checkpoint,
  add_limit,
  add_resamples,
  call,
  check_outputs,
  show,
)
from item_jax.errors import UserError
from item_jax.files import check_out_folder

_OF_ONE = ("parts", "boxes", "regions", "variants")


def add(command) -> None:
  sub = command(
    "robustness",
    "what is found without a side, with few tokens, after changes, elsewhere",
  )
  sub.add_argument(
    "--workdir",
    type=places.RUN,
    required=True,
    action="append",
    help="the run's; given several times, or --data so: a table of each run in"
    " each catalogue instead",
  )
  sub.add_argument(
    "--data",
    type=places.DATA,
    action="append",
    default=[],
    help="from prepare, with any tokenizer: the run's is used; repeatable;"
    " default: the run's own",
  )
  sub.add_argument("--split", default="test", help="of the data")
  add_checkpoint(sub)
  add_limit(sub)
  sub.add_argument(
    "--parts",
    type=lambda text: text.split(","),
    metavar="NAMES",
    help="with commas between: roles, lengths, and changes such as crop,"
    "misspelt; default: all",
  )
  sub.add_argument(
    "--mixed_rate",
    type=float,
    default=0.5,
    help="fraction of the complete listings that lack a side in the mixed"
    " index",
  )
  sub.add_argument(
    "--boxes",
    type=places.COPY,
    metavar="FILE",
    help="regions of interest to compare with whole images: a table with id,"
    " x0, y0, x1, y1, fractions of the image's width and height",
  )
  sub.add_argument(
    "--regions",
    choices=("attention",),
    help="take as regions where [CLS] looks, on a catalogue without boxes",
  )
  sub.add_argument(
    "--variants",
    type=places.COPY,
    metavar="FILE",
    help="CSV: product, variant, differs; whether such pairs are told apart, by"
    " each side; synthesize writes one",
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the result")
  sub.add_argument(
    "--figures",
    type=places.Local("take a folder here for the pictures, and copy it"),
    metavar="DIR",
    help="folder for the curves as PNG and SVG",
  )
  sub.add_argument("--batch_size", type=int, default=256, help="rows at a time")
  add_resamples(sub, "of the resamples and of all changes")


def run(args, rest) -> None:
  check_outputs(args, args.json)
  check_out_folder(args.figures)
  if len(args.workdir) > 1 or len(args.data) > 1:
    show(_across(args), args)
    return
  found = _measure(args)
  pictures = found.write_figures(args.figures) if args.figures else []
  show(found, args)
  for path in pictures:
    print(path)


def _measure(args):
  from item_jax.inference.robustness import PARTS, robustness

  data = args.data[0] if args.data else None
  parts = PARTS if args.parts is None else args.parts
  return call(robustness, args, args.workdir[0], data=data, parts=parts)


def _across(args):
  from item_jax.inference.cross_domain import cross_domain

  for name in (*_OF_ONE, "figures", "step", "like", "limit"):
    if getattr(args, name) is not None:
      raise UserError(
        f"--{name} is of one run and one catalogue; given are"
        f" {len(args.workdir)} and {len(args.data)}"
      )
  return call(cross_domain, args, args.workdir, args.data)
