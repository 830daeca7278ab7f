"""Flags in, one call out: every command of `item-jax`."""

import argparse
import sys
from pathlib import Path

from absl import logging

from item_jax import __version__
from item_jax.errors import UserError

EXIT_USER_ERROR = 2
EXIT_FAILED = 4  # the run itself failed: it diverged, or could not be saved


def main(argv: list[str] | None = None) -> int:
  """Runs one command and returns its exit code."""
  argv = sys.argv[1:] if argv is None else argv
  parser = _make_parser()
  args, rest = parser.parse_known_args(argv)
  if rest and args.command not in ("train", "bench"):
    parser.error(f"unknown arguments: {' '.join(rest)}")
  # Orbax warns of metrics and metadata that are absent on purpose.
  logging.set_verbosity(logging.ERROR)
  try:
    return args.run(args, rest) or 0
  except (UserError, FileNotFoundError, FileExistsError) as error:
    print(f"item-jax: error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR


def _synthesize(args, rest) -> None:
  from item_jax.data.synthetic import synthesize

  synthesize(
    args.out,
    products=args.products,
    seed=args.seed,
    image_size=args.image_size,
    overwrite=args.overwrite,
    workers=args.workers,
  )


def _prepare(args, rest) -> int:
  from item_jax.data.prepare import prepare

  columns = {}
  for pair in args.column:
    ours, equals, theirs = pair.partition("=")
    if not equals:
      raise UserError(f"--column {pair!r}: expected OURS=THEIRS")
    columns[ours] = theirs
  return prepare(
    args.catalogue,
    images=args.images,
    out=args.out,
    columns=columns,
    tokenizer=args.tokenizer,
    vocab_size=args.vocab_size,
    max_rejected=args.max_rejected,
    overwrite=args.overwrite,
    workers=args.workers,
  )


def _train(args, rest) -> int:
  from item_jax import config_flags

  config = config_flags.parse(args.config, rest)
  _distribute(args)
  from item_jax.evaluation.during import make_evaluate
  from item_jax.training.checkpoints import SaveError
  from item_jax.training.loop import train
  from item_jax.training.watch import DivergedError

  try:
    return train(config, args.workdir, make_evaluate=make_evaluate)
  except (DivergedError, SaveError) as error:
    print(f"item-jax: stopped: {error}", file=sys.stderr)
    return EXIT_FAILED


def _distribute(args) -> None:
  """Joins the other processes of a run; nothing where there is one."""
  import jax

  if args.coordinator is None and not args.distributed:
    return
  jax.distributed.initialize(
    args.coordinator, args.num_processes, args.process_id
  )


def _export(args, rest) -> None:
  from item_jax.evaluation.export import export

  export(
    args.workdir,
    data=args.data,
    split=args.split,
    out=args.out,
    modality=args.modality,
    step=args.step,
    batch_size=args.batch_size,
    dtype=args.dtype,
    workers=args.workers,
    overwrite=args.overwrite,
  )


def _evaluate(args, rest) -> None:
  from item_jax.evaluation import retrieval

  given = {
    "ks": args.k,
    "json_path": args.json,
    "per_query": args.per_query,
    "bootstrap": args.bootstrap,
    "seed": args.seed,
  }
  if args.export is not None and args.embeddings is None and args.items is None:
    retrieval.evaluate_export(args.export, **given)
  elif args.embeddings and args.items and args.export is None:
    retrieval.evaluate_files(args.embeddings, args.items, **given)
  else:
    raise UserError(
      "evaluate needs either an export folder or --embeddings and --items"
    )


def _report(args, rest) -> None:
  from item_jax.evaluation.report import report

  exports = {}
  for pair in args.exports:
    name, equals, folder = pair.partition("=")
    if not equals:
      raise UserError(f"export {pair!r}: expected NAME=FOLDER")
    exports[name] = Path(folder)
  report(args.data, args.split, exports, args.out)


def _bench(args, rest) -> None:
  if args.what == "search":
    from item_jax.evaluation.bench import bench_search

    bench_search(
      items=args.items,
      dim=args.dim,
      queries=args.queries,
      json_path=args.json,
    )
    return
  from item_jax import config_flags
  from item_jax.training import bench

  config = config_flags.parse(args.config, rest)
  given = {"seconds": args.seconds, "json_path": args.json}
  if args.what == "step":
    bench.bench_step(config, profile=args.profile, **given)
  else:
    bench.bench_input(config, **given)


def _depths(text: str) -> tuple[int, ...]:
  try:
    ks = tuple(int(k) for k in text.split(","))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"{text!r} is no list of numbers like 1,5,10"
    ) from None
  if min(ks) < 1:
    raise argparse.ArgumentTypeError(f"{text!r}: depths begin at 1")
  return ks


def _make_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="item-jax",
    description="Product embeddings from photo and title (ITEm).",
    allow_abbrev=False,
  )
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(dest="command", required=True)

  def command(name, run, text):
    sub = commands.add_parser(
      name,
      help=text,
      description=text,
      allow_abbrev=False,
      formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sub.set_defaults(run=run)
    return sub

  sub = command("synthesize", _synthesize, "invent a catalogue with photos")
  sub.add_argument("out", type=Path)
  sub.add_argument("--products", type=int, default=2_000)
  sub.add_argument("--seed", type=int, default=0)
  sub.add_argument("--image_size", type=int, default=160, help="pixels")
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  sub.add_argument("--overwrite", action="store_true")

  sub = command("prepare", _prepare, "turn a catalogue into a data set")
  sub.add_argument(
    "catalogue", type=Path, help=".csv, .tsv, .jsonl or .parquet"
  )
  sub.add_argument("--images", type=Path, required=True, help="photo folder")
  sub.add_argument("--out", type=Path, required=True)
  sub.add_argument(
    "--column",
    action="append",
    default=[],
    metavar="OURS=THEIRS",
    help="where a column has another name, as in title=name; repeatable",
  )
  sub.add_argument(
    "--tokenizer", type=Path, help="tokenizer.json or vocab.txt to use"
  )
  sub.add_argument("--vocab_size", type=int, default=30_522)
  sub.add_argument(
    "--max_rejected", type=float, default=0.01, help="share of bad rows"
  )
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  sub.add_argument("--overwrite", action="store_true")

  sub = command(
    "train",
    _train,
    "train; any option of the config as --config.optim.lr=1e-4",
  )
  sub.add_argument("--config", required=True, metavar="FILE[:VARIANT]")
  sub.add_argument("--workdir", type=Path, required=True)
  sub.add_argument(
    "--distributed",
    action="store_true",
    help="one of many processes, found out from Slurm, a TPU pod, ...",
  )
  sub.add_argument("--coordinator", metavar="HOST:PORT")
  sub.add_argument("--num_processes", type=int)
  sub.add_argument("--process_id", type=int)

  sub = command("export", _export, "write the embeddings of a split")
  sub.add_argument("--workdir", type=Path, required=True)
  sub.add_argument("--data", type=Path, required=True)
  sub.add_argument("--split", default="test")
  sub.add_argument("--out", type=Path, required=True)
  sub.add_argument(
    "--modality", choices=("both", "image", "title"), default="both"
  )
  sub.add_argument(
    "--step", type=int, help="checkpoint; default: the best; 0: untrained"
  )
  sub.add_argument("--batch_size", type=int, default=256)
  sub.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="float32"
  )
  sub.add_argument("--workers", type=int, default=0, help="processes")
  sub.add_argument("--overwrite", action="store_true")

  sub = command("evaluate", _evaluate, "score embeddings: same-product search")
  sub.add_argument("export", type=Path, nargs="?", help="an export folder")
  sub.add_argument("--embeddings", type=Path, help=".npy [N,D]")
  sub.add_argument(
    "--items", type=Path, help="CSV: id, product, category, role"
  )
  sub.add_argument("--k", type=_depths, default=(1, 5, 10))
  sub.add_argument("--json", type=Path)
  sub.add_argument("--per_query", type=Path, metavar="FILE.csv")
  sub.add_argument("--bootstrap", type=int, default=1000, help="resamples")
  sub.add_argument("--seed", type=int, default=0)

  sub = command(
    "report", _report, "one table: exports beside the trivial baselines"
  )
  sub.add_argument("exports", nargs="*", metavar="NAME=FOLDER")
  sub.add_argument("--data", type=Path, required=True)
  sub.add_argument("--split", default="test")
  sub.add_argument("--out", type=Path, help="results.json")

  sub = command("bench", _bench, "measure the step, the input or the search")
  sub.add_argument("what", choices=("step", "input", "search"))
  sub.add_argument("--config", metavar="FILE[:VARIANT]")
  sub.add_argument("--seconds", type=float, default=20.0)
  sub.add_argument(
    "--profile", type=Path, help="folder for a trace of one step"
  )
  sub.add_argument("--items", type=int, default=100_000)
  sub.add_argument("--dim", type=int, default=768)
  sub.add_argument("--queries", type=int, default=2_000)
  sub.add_argument("--json", type=Path)
  return parser


if __name__ == "__main__":
  sys.exit(main())
