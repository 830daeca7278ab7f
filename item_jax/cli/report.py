"""`item-jax report` compares exports with each other and the baselines."""

from item_jax.cli import places
from item_jax.cli.flags import read_exports
from item_jax.errors import UserError
from item_jax.files import check_folders
from item_jax.remote import check_local


def add(command) -> None:
  sub = command("report", "one table: exports beside the baselines")
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="*",
    metavar="NAME=SOURCE",
    help=f"of the split; {places.SOURCES}",
  )
  sub.add_argument(
    "--data", type=places.DATA, required=True, help="from prepare"
  )
  sub.add_argument("--split", default="test", help="of the data")
  sub.add_argument("--out", type=places.FILE_OUT, help="results.json")
  sub.add_argument(
    "--html",
    type=places.FILE_OUT,
    metavar="FILE.html",
    help="one page of all of it, without network or server: curves, tables,"
    " confused categories, queries with the listings near them as pictures",
  )
  sub.add_argument(
    "--figures",
    type=places.Local("take a folder here for the pictures, and copy it"),
    metavar="DIR",
    help="folder for the page's curves and confusion as PNG and SVG",
  )
  sub.add_argument(
    "--run",
    dest="workdir",
    type=places.METRICS,
    metavar="WORKDIR",
    help="of training: its curves, for --html and --figures",
  )
  sub.add_argument(
    "--examples",
    type=int,
    default=60,
    help="queries of --html: a third each the best and the worst of the first"
    " export, and any (default: %(default)s)",
  )
  sub.add_argument(
    "--seed", type=int, default=0, help="of resamples and random queries"
  )


def run(args, rest) -> None:
  from item_jax.evaluation.page.curves import read_curves
  from item_jax.evaluation.report import report

  check_folders(args.out, args.html)
  check_local(args.figures)
  if args.workdir and not (args.html or args.figures):
    raise UserError(
      f"--run={args.workdir} is for the curves of a page or of pictures:"
      " expected --html=FILE or --figures=DIR beside it"
    )
  if args.examples < 1:
    raise UserError(f"{args.examples} examples; expected 1 or more")
  if args.workdir:
    read_curves(args.workdir)  # before any work
  found = report(
    args.data, args.split, read_exports(args.exports), seed=args.seed
  )
  print(found)
  if args.out:
    found.write_json(args.out)
  if args.html:
    found.write_page(
      args.html, run=args.workdir, examples=args.examples, seed=args.seed
    )
    print(f"{args.html}: {args.html.stat().st_size / 1e6:.1f} MB")
  if args.figures:
    for path in found.write_figures(args.figures, run=args.workdir):
      print(path)
