"""`item-jax compare`: a catalogue and names of systems in, one table out."""

import shlex
import sys

from item_jax.cli import places


def add(command) -> None:
  sub = command(
    "compare",
    "train, export and score systems alike; one table of all."
    " --config.NAME=VALUE changes an option of every system",
  )
  sub.add_argument(
    "--data", type=places.DATA, required=True, help="from prepare"
  )
  sub.add_argument(
    "--out",
    type=places.Local(
      "a comparison works in a folder of this machine; copy it when it is done"
    ),
    required=True,
    help="goes on where it stopped",
  )
  sub.add_argument(
    "--systems",
    default="all",
    help="names parted by commas, all of the config file's, or ablation",
  )
  sub.add_argument(
    "--config",
    type=places.CONFIG,
    metavar="FILE",
    help="with VARIANTS; default: configs/comparison.py, or ablation.py",
  )
  sub.add_argument("--size", default="tiny", help="tiny, small or base")
  sub.add_argument("--seeds", type=int, default=3, help="0, 1, ...")
  sub.add_argument(
    "--budget",
    metavar="300s|2000steps",
    help="of a full run of one system; default: the config's steps",
  )
  sub.add_argument(
    "--rates",
    default="0.3,1,3",
    help="factors of the config's learning rate; one: no tuning",
  )
  sub.add_argument(
    "--tune_share",
    type=float,
    default=0.25,
    help="of the steps, for each tuning run",
  )
  sub.add_argument("--split", default="test", help="that is scored")
  sub.add_argument(
    "--jobs",
    type=int,
    default=1,
    help="systems trained side by side, each on its share of the cores and of"
    " the devices that CUDA_VISIBLE_DEVICES lists",
  )
  sub.add_argument(
    "--dry_run", action="store_true", help="print the plan and its cost"
  )
  sub.add_argument(
    "--report_only",
    action="store_true",
    help="write the tables of what is finished",
  )


def run(args, rest) -> int:
  from item_jax.comparison.compare import compare
  from item_jax.comparison.request import Request

  request = Request(
    data=args.data,
    out=args.out,
    systems=args.systems,
    config=args.config,
    size=args.size,
    seeds=args.seeds,
    budget=args.budget,
    rates=args.rates,
    tune_share=args.tune_share,
    split=args.split,
    jobs=args.jobs,
    overrides=tuple(rest),
    command=shlex.join(["item-jax", *sys.argv[1:]]),
  )
  return compare(request, dry_run=args.dry_run, report_only=args.report_only)
