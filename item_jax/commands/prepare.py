"""`item-jax prepare`: flags in, a data set out."""

from item_jax import places
from item_jax.errors import UserError


def add(command) -> None:
  sub = command("prepare", "turn a catalogue into a data set")
  sub.add_argument(
    "catalogue",
    type=places.CATALOGUE,
    help=".csv, .tsv, .jsonl or .parquet",
  )
  sub.add_argument(
    "--images",
    type=places.IMAGES,
    metavar="DIR",
    help="what paths of photos start from; default: the catalogue's folder",
  )
  sub.add_argument(
    "--out", type=places.DATA_OUT, required=True, help="the folder to be"
  )
  sub.add_argument(
    "--column",
    action="append",
    metavar="OURS=THEIRS",
    help="where a column has another name, as in title=name; repeatable",
  )
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
    help="words at most, where a tokenizer is learnt",
  )
  sub.add_argument(
    "--max_rejected", type=float, default=0.01, help="share of bad rows"
  )
  sub.add_argument("--workers", type=int, help="processes; default: cores")
  sub.add_argument(
    "--overwrite", action="store_true", help="replace an earlier data set"
  )
  sub.add_argument(
    "--runner",
    help="the Apache Beam runner that does it elsewhere, as DataflowRunner;"
    " Beam's own options may follow, as --name=value",
  )


def run(args, rest) -> int:
  if rest and args.runner is None:
    raise UserError(
      f"unknown arguments: {' '.join(rest)} (Beam's own go with --runner)"
    )
  from item_jax.data.prepare import prepare

  columns = {}
  for pair in args.column or ():
    ours, equals, theirs = pair.partition("=")
    if not equals:
      raise UserError(f"--column {pair!r}: expected OURS=THEIRS")
    columns[ours] = theirs
  return prepare(
    args.catalogue,
    images=args.images or args.catalogue.parent,
    out=args.out,
    columns=columns,
    tokenizer=args.tokenizer,
    vocab_size=args.vocab_size,
    max_rejected=args.max_rejected,
    overwrite=args.overwrite,
    workers=args.workers,
    runner=args.runner,
    runner_options=rest,
  )
