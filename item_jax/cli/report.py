"""`item-jax report` compares exports with each other and the baselines."""

from pathlib import Path

from item_jax.cli import places
from item_jax.cli.flags import call, check_outputs, read_exports
from item_jax.errors import UserError, check_whole
from item_jax.files import RUN_FILE, check_out_folder


def add(command) -> None:
  sub = command("report", "one table: exports beside the baselines")
  sub.add_argument(
    "exports",
    type=places.EXPORTS,
    nargs="*",
    metavar="NAME=SOURCE|PATH",
    help=f"of the split; {places.SOURCES}. A PATH without NAME= is an export"
    " by its folder's name, or what --html shows beside: the folder of a"
    " comparison, of another run or of `probe --out`, the JSON of `modality`"
    " or `robustness`, the CSV of `predict`",
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
    action="append",
    metavar="WORKDIR",
    help="of training: its curves for --html and --figures, and what its model"
    " looks at and recovers for --html; given several times, curves of all in"
    " the same panels, and the first one's model",
  )
  sub.add_argument(
    "--explain",
    type=int,
    default=8,
    metavar="LISTINGS",
    help="of the split that --html asks the run's model about; 0: none, which"
    " takes no checkpoint (default: %(default)s)",
  )
  sub.add_argument(
    "--step",
    type=int,
    help="checkpoint of --explain; default: the best; 0: untrained",
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
  from item_jax.evaluation.page.curves import read_runs
  from item_jax.evaluation.report import report

  check_outputs(args, args.out, args.html)
  check_out_folder(args.figures)
  if args.workdir and not (args.html or args.figures):
    raise UserError(
      f"--run={args.workdir[0]} is for the curves of a page or of pictures:"
      " expected --html=FILE or --figures=DIR beside it"
    )
  check_whole("examples", args.examples, at_least=1)
  if args.explain < 0:
    raise UserError(f"--explain={args.explain}; expected 0 listings or more")
  if args.workdir:
    read_runs(args.workdir)  # before any work
  exports, beside = _sort(args.exports)
  if beside and not (args.html or args.figures):
    raise UserError(
      "a comparison, a run or another result stands on a page beside the"
      " table: expected --html=FILE, or --figures=DIR for its pictures"
    )
  given = read_exports(exports)
  # Before the scores, which take longest: a model may not fit the data.
  explained = _explain(args) if args.html else None
  found = report(args.data, args.split, given, seed=args.seed)
  if args.out:
    found.write_json(args.out)
  if args.html:
    found.write_page(
      args.html,
      run=args.workdir,
      examples=args.examples,
      seed=args.seed,
      explained=explained,
      beside=beside,
    )
  pictures = []
  if args.figures:
    pictures = found.write_figures(
      args.figures, run=args.workdir, beside=beside
    )
  # Last: who reads what is printed may stop reading, and end us.
  print(found)
  if args.html:
    print(f"{args.html}: {args.html.stat().st_size / 1e6:.2f} MB")
  for path in pictures:
    print(path)


def _sort(given: list[str]) -> tuple[list[str], list]:
  """Returns exports as NAME=SOURCE, and the other results, read."""
  from item_jax.comparison.beside import read_beside
  from item_jax.evaluation.items import is_export

  exports, beside = [], []
  for text in given:
    if text in ("tfidf", "thumbnail") and not Path(text).exists():
      raise UserError(
        f"{text}: every report has it, made of --data; leave it out, or give"
        f" NAME={text}"
      )
    if "=" in text and not Path(text).exists():  # a folder's name may have one
      exports.append(text)
    elif is_export(text):
      exports.append(f"{Path(text).absolute().name}={text}")
    else:
      beside.append(read_beside(text))
  return exports, beside


def _explain(args):
  """Asks the run's model; None without one, as of a store's copy."""
  if not (args.workdir and args.explain):
    return None
  workdir = args.workdir[0]
  if not (workdir / RUN_FILE).is_file():
    return None
  from item_jax.cli import programs

  programs.prepare_model()
  from item_jax.inference.explain import explain

  return call(explain, args, workdir, count=args.explain)
