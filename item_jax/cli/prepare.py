"""`item-jax prepare` turns a catalogue into a data set."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from item_jax.cli import places
from item_jax.cli.flags import TRAINED, add_missing, add_overwrite, call
from item_jax.errors import UserError
from item_jax.ingest import sources
from item_jax.ingest.readers.delimited import QUOTING
from item_jax.ingest.readers.formats import FORMATS
from item_jax.object_store.uploads import Layout

EXIT_TOO_MANY_REJECTED = 3

_OUT = places.Out(
  Layout(
    "manifest.json",
    (
      *("catalogue-*.array_record-*", "catalogue.json", "tokenizer.json"),
      *("rejected.csv", "dataset_info.json", "features.json"),
    ),
  )
)


def add(command: Callable[[str, str], ArgumentParser]) -> None:
  """Adds the command's flags."""
  sub = command("prepare", "turn a catalogue into a data set")
  sub.add_argument(
    "catalogue",
    type=places.CATALOGUE,
    nargs="+",
    help=".csv, .tsv, .jsonl or .parquet, also packed as .gz or .zst; a shop's"
    " export, also .xml or .json; a folder of such parts; or several of these",
  )
  sub.add_argument(
    "--images",
    type=places.IMAGES,
    metavar="DIR",
    help="what paths of images start from; default: the catalogue's folder",
  )
  sub.add_argument(
    "--out", type=_OUT, required=True, help="the folder to write"
  )
  _add_reading(sub)
  sub.add_argument(
    "--tokenizer",
    type=places.TOKENIZER,
    help="a tokenizer's folder or file to use: tokenizer.json, vocab.txt, or"
    " vocab.json with merges.txt",
  )
  sub.add_argument(
    "--vocab_size",
    type=int,
    default=30_522,
    help="at most so many tokens, where a tokenizer is trained",
  )
  sub.add_argument(
    "--max_rejected",
    type=float,
    default=0.01,
    help="the fraction of rows that may be bad",
  )
  sub.add_argument(
    "--split_of",
    type=TRAINED,
    metavar="DATA",
    help="run=RUN or a data set: its products go to the split that"
    " they have there, so that none that was trained on is in the test",
  )
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  add_overwrite(sub, "replace an earlier data set")
  sub.add_argument(
    "--runner",
    help="the Apache Beam runner that does it elsewhere, as DataflowRunner;"
    " Beam's own options may follow, as --name=value",
  )


def _add_reading(sub: ArgumentParser) -> None:
  """Adds the flags of `Reading`."""
  sub.add_argument(
    "--column",
    action="append",
    metavar="OURS=THEIRS",
    help="where a column has another name, as in title=name; repeatable",
  )
  sub.add_argument(
    "--format",
    default="auto",
    metavar="NAME",
    help=f"of the files: {', '.join(FORMATS)}, or package.module:NAME of a"
    " reader of your own; auto detects it by their names",
  )
  sub.add_argument(
    "--quoting",
    choices=QUOTING,
    default="auto",
    help="of CSV and TSV: csv, quoted fields may span lines; line, a quote"
    " counts where a field begins and ends with one on a line; none; auto"
    " detects one of the first two by the file",
  )
  add_missing(sub)
  sub.add_argument(
    "--source",
    default="auto",
    metavar="NAME",
    help=f"the shop system that exported it: {', '.join(sources.NAMES)}, or"
    " package.module:NAME of a reader of your own; auto detects it by the"
    " header",
  )
  sub.add_argument(
    "--category_separator",
    metavar="SIGN",
    help="between the levels of a category; default: > or the source's own",
  )
  sub.add_argument(
    "--which_category",
    choices=sources.WHICH,
    default="first",
    help="which one to take where a shop's cell names several",
  )
  sub.add_argument(
    "--trust_ids",
    action="store_true",
    help="take ids as they are: also a product that holds an implausible"
    " fraction of the rows, and numbers that have lost digits",
  )


def run(args: Namespace, rest: list[str]) -> int:
  """Runs the command; returns its exit code."""
  if rest and args.runner is None:
    raise UserError(
      f"unknown arguments: {' '.join(rest)} (Beam's own go with --runner)"
    )
  from item_jax.ingest.prepare import TooManyRejected, prepare
  from item_jax.ingest.row import Reading

  columns = {}
  for pair in args.column or ():
    ours, equals, theirs = pair.partition("=")
    if not equals:
      raise UserError(f"--column {pair!r}: expected OURS=THEIRS")
    columns[ours] = theirs
  reading = call(Reading, args, columns=columns, file_format=args.format)
  split_of = None
  if args.split_of:
    from item_jax.training.trained_on import open_training  # imports jax

    split_of, _ = open_training(args.split_of)
  try:
    dataset = call(
      prepare,
      args,
      args.catalogue,
      args.images,
      reading=reading,
      split_of=split_of,
      runner_options=rest,
    )
  except TooManyRejected as error:
    print(error)
    return EXIT_TOO_MANY_REJECTED
  print(f"{dataset}\nwritten to {dataset.path}")
  return 0
