"""`item-jax compare`: trains, exports and scores systems alike."""

import shlex
import sys

from item_jax.cli import places
from item_jax.distributed.processes import EXIT_FAILED, EXIT_START_AGAIN


def add(command) -> None:
  """Adds the command's arguments."""
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
    help="names separated by commas, all of the config file's, or ablation",
  )
  sub.add_argument(
    "--config",
    type=places.CONFIG,
    metavar="FILE",
    help="with VARIANTS; default: configs/comparison.py, or ablation.py",
  )
  for side, what in (
    ("image", "an image encoder of another project (EfficientNet-Lite0)"),
    ("text", "a text encoder of another project, with its tokenizer"),
  ):
    sub.add_argument(
      f"--{side}_weights",
      type=places.Local("give weights on this machine"),
      metavar="FOLDER",
      help=f"{what}; without it the rows that need it are left out",
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
    help="systems trained side by side, each on its part of the cores and of"
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
  """Runs the command; returns its exit code."""
  from item_jax.comparison.request import Request

  fields = {*Request._fields} - {"command"}
  request = Request(
    **{name: value for name, value in vars(args).items() if name in fields},
    overrides=tuple(rest),
    command=shlex.join(["item-jax", *sys.argv[1:]]),
  )
  from item_jax.comparison import compare as compare_lib

  if args.dry_run:
    print(compare_lib.estimate(request))
    return 0
  if args.report_only:
    print(compare_lib.report(request))
    return 0
  return compare(request)


def compare(request, **options) -> int:
  """Compares, and prints the tables or why there are none.

  Args:
    request: an `item_jax.comparison.request.Request`.
    options: of `item_jax.comparison.compare.compare`.

  Returns:
    0; EXIT_START_AGAIN when interrupted: the same call goes on; EXIT_FAILED
    when a system failed, which the tables say.
  """
  from item_jax.comparison import compare as compare_lib

  try:
    comparison = compare_lib.compare(request, **options)
  except KeyboardInterrupt:
    print("stopped; the same command goes on from here", flush=True)
    return EXIT_START_AGAIN
  print(comparison)
  for what, reason in comparison.failures.items():
    print(f"failed: {what}: {reason}")
  return EXIT_FAILED if comparison.failures else 0
