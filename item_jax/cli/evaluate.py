"""`item-jax evaluate` scores embeddings by same-product search."""

import argparse
import logging
import sys

from item_jax.cli import places
from item_jax.cli.flags import (
  add_data,
  add_missing,
  add_resamples,
  call,
  check_outputs,
  show,
)
from item_jax.distributed import cluster
from item_jax.distributed.processes import EXIT_FAILED
from item_jax.errors import UserError

# Queries that are searched before the other processes hear where we are. An
# accelerator is given the whole index again for each part, and searches more.
_AT_ONCE, _AT_ONCE_ON_DEVICES = 8_192, 262_144


def add(command) -> None:
  sub = command("evaluate", "score embeddings: same-product search")
  sub.add_argument("export", type=places.SOURCE, nargs="?", help=places.SOURCES)
  sub.add_argument("--embeddings", type=places.COPY, help=".npy [N,D]")
  sub.add_argument(
    "--items",
    type=places.COPY,
    help="a CSV, or what else prepare reads: id, product, category, role",
  )
  sub.add_argument(
    "--index",
    type=places.SOURCE,
    metavar="EXPORT",
    help="search the export's rows in this one instead, of the same listings in"
    " the same space: titles in images, for instance; or FILE.npy:ITEMS.csv",
  )
  add_data(sub)
  add_missing(sub)
  sub.add_argument("--k", type=_depths, default="1,5,10", help="depths")
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the scores")
  sub.add_argument(
    "--per_query",
    type=places.FILE_OUT,
    metavar="FILE.csv",
    help="scores of each query",
  )
  add_resamples(sub)
  sub.add_argument(
    "--devices",
    action="store_true",
    help="search on this machine's devices; the same result",
  )
  cluster.add_flags(sub)


def run(args, rest) -> int:
  cluster.join(args)
  if not args.distributed and args.coordinator is None:
    _show(args, _score(args, _search(args)))
    return 0
  return _run_in_processes(args)


def _run_in_processes(args) -> int:
  """Divides the queries among processes; process 0 prints and writes."""
  import jax

  from item_jax.distributed.barrier import Barrier, OtherProcessError
  from item_jax.distributed.watchdog import Watchdog
  from item_jax.inference.divided import divided, in_parts

  first = jax.process_index() == 0
  if not first:
    logging.getLogger("item_jax").setLevel(logging.WARNING)
  quick = args.devices and jax.default_backend() != "cpu"
  at_once = _AT_ONCE_ON_DEVICES if quick else _AT_ONCE
  try:
    with Watchdog(args.stall_seconds) as watchdog, Barrier() as barrier:
      search = in_parts(_search(args), watchdog.update, at_once=at_once)
      scores = _score(args, divided(search))
      if first:
        _show(args, scores)
      barrier.wait()
  except OtherProcessError as error:
    print(f"item-jax: stopped: {error}", file=sys.stderr)
    return EXIT_FAILED
  return 0


def _search(args):
  """The search; numpy needs no device, and jax is not imported for it."""
  if args.devices:
    from item_jax.inference.device_search import search
  else:
    from item_jax.evaluation.search import search
  return search


def _score(args, search):
  from item_jax.evaluation.retrieval import score

  check_outputs(args, args.json, args.per_query)
  if args.index is not None:
    return _score_across(args)
  if args.export is not None and args.embeddings is None and args.items is None:
    vectors, items = args.export, None
  elif args.embeddings and args.items and args.export is None:
    vectors, items = args.embeddings, args.items
  else:
    raise UserError(
      "evaluate needs either an export (or FILE.npy:ITEMS.csv, tfidf,"
      " thumbnail) or --embeddings and --items"
    )
  return call(score, args, vectors, items, search=search)


def _score_across(args):
  from item_jax.evaluation.changed import score_across

  if args.export is None or args.embeddings or args.items:
    raise UserError(
      f"--index={args.index} is searched for an export's rows: expected an"
      " export, or FILE.npy:ITEMS.csv, beside it"
    )
  if args.devices or args.distributed or args.coordinator is not None:
    raise UserError(
      "--index is searched by one process of numpy: leave --devices and the"
      " flags of several processes away"
    )
  return call(score_across, args, args.export, args.index)


def _show(args, scores) -> None:
  if args.per_query:
    scores.write_per_query(args.per_query)
  show(scores, args)


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
