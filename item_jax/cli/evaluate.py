"""`item-jax evaluate`: embeddings in, scores of same-product search out."""

import argparse
import sys

from item_jax.cli import places
from item_jax.cli.prepare import add_missing
from item_jax.distributed import cluster
from item_jax.distributed.processes import EXIT_FAILED
from item_jax.errors import UserError

# Queries that are searched before the other processes hear where we are. An
# accelerator is given the whole index again for each part, and searches more.
_AT_ONCE, _AT_ONCE_ON_DEVICES = 8_192, 262_144


def add(command) -> None:
  sub = command("evaluate", "score embeddings: same-product search")
  sub.add_argument(
    "export", type=places.COPY, nargs="?", help="an export folder"
  )
  sub.add_argument("--embeddings", type=places.COPY, help=".npy [N,D]")
  sub.add_argument(
    "--items",
    type=places.COPY,
    help="a CSV, or what else prepare reads: id, product, category, role",
  )
  add_missing(sub)
  sub.add_argument("--k", type=_depths, default="1,5,10", help="depths")
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the scores")
  sub.add_argument(
    "--per_query",
    type=places.FILE_OUT,
    metavar="FILE.csv",
    help="scores of each query",
  )
  sub.add_argument("--bootstrap", type=int, default=1000, help="resamples")
  sub.add_argument("--seed", type=int, default=0, help="of the resamples")
  sub.add_argument(
    "--devices",
    action="store_true",
    help="search on this machine's devices; the same result",
  )
  cluster.add_flags(sub)


def run(args, rest) -> int:
  cluster.join(args)
  if not args.distributed and args.coordinator is None:
    return _evaluate(args, search=_search(args))
  import jax

  from item_jax.distributed.watchdog import Watchdog
  from item_jax.inference import hosts

  quick = args.devices and jax.default_backend() != "cpu"
  try:
    with Watchdog(args.stall_seconds) as progress:
      return hosts.together(
        lambda: _evaluate(
          args,
          search=hosts.divided(
            hosts.told(
              _search(args),
              progress.update,
              at_once=_AT_ONCE_ON_DEVICES if quick else _AT_ONCE,
            )
          ),
          report=jax.process_index() == 0,
        )
      )
  except hosts.ElsewhereError as error:
    print(f"item-jax: stopped: {error}", file=sys.stderr)
    return EXIT_FAILED


def _search(args):
  """Who searches; numpy needs no device, and jax is not imported for it."""
  if args.devices:
    from item_jax.inference.device_search import search
  else:
    from item_jax.evaluation.search import search
  return search


def _evaluate(args, **how) -> int:
  from item_jax.evaluation import evaluate as evaluate_lib

  given = {
    "ks": args.k,
    "json_path": args.json,
    "per_query": args.per_query,
    "bootstrap": args.bootstrap,
    "seed": args.seed,
    **how,
  }
  if args.export is not None and args.embeddings is None and args.items is None:
    evaluate_lib.evaluate_export(args.export, **given)
  elif args.embeddings and args.items and args.export is None:
    evaluate_lib.evaluate_files(
      args.embeddings, args.items, missing=args.missing, **given
    )
  else:
    raise UserError(
      "evaluate needs either an export folder or --embeddings and --items"
    )
  return 0


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
