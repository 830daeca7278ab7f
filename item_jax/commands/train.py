"""`item-jax train`: a config file and its overrides in, a workdir out."""

import sys
from pathlib import Path

EXIT_FAILED = 4  # the run itself failed: it diverged, or could not be saved


def add(command) -> None:
  sub = command(
    "train",
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


def run(args, rest) -> int:
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
