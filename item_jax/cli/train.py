"""Runs `item-jax train`: trains as a config file and its overrides say."""

import sys

from item_jax import config as config_lib
from item_jax.cli import places, programs
from item_jax.cli.flags import add_config
from item_jax.cli.output import forgiving
from item_jax.distributed import cluster
from item_jax.distributed.processes import EXIT_FAILED, EXIT_START_AGAIN
from item_jax.errors import WRONG_PATHS
from item_jax.object_store.copies import data_copy
from item_jax.remote import Address, locate


def add(command) -> None:
  sub = command(
    "train",
    "train; any option of the config as --config.optim.lr=1e-4",
  )
  add_config(sub, "the run's: a Python file", required=True)
  sub.add_argument(
    "--workdir",
    type=places.WORKDIR,
    required=True,
    help="the run's folder; one that is there goes on",
  )
  cluster.add_flags(sub)


def run(args, rest) -> int:
  with forgiving("stdout", "stderr"):
    return _run(args, rest)


def _run(args, rest) -> int:
  # All before joining: from then on the others must be informed of a signal.
  import jax

  from item_jax import config_flags
  from item_jax.data.unreadable import TooManyBadRecordsError
  from item_jax.distributed.preemption import Preempted
  from item_jax.distributed.watchdog import Watchdog
  from item_jax.training.checkpoints import SaveError
  from item_jax.training.loop import ReadError, train
  from item_jax.training.monitor import DivergedError

  config = config_flags.parse(args.config, rest)
  fields = config_lib.flatten(config)
  data = locate(config.data.path)
  if isinstance(data, Address):  # now: no other process waits for it yet
    data_copy(data)
  same = {f"config.{k}": v for k, v in fields.items()}
  cluster.join(args, same, stops_together=True)
  try:
    with Watchdog(args.stall_seconds) as watchdog:
      try:
        train(
          config,
          args.workdir,
          progress=watchdog,
          programs=programs.run_programs(),
        )
      except Preempted as stop:
        print(stop, flush=True)
        return EXIT_START_AGAIN
    return 0
  except (*WRONG_PATHS, BrokenPipeError):
    raise
  except (
    DivergedError,
    SaveError,
    TooManyBadRecordsError,
    ReadError,
    OSError,
  ) as error:
    print(f"item-jax: stopped: {error}", file=sys.stderr)
    return EXIT_FAILED
  except jax.errors.JaxRuntimeError as error:  # out of memory, as a rule
    sys.excepthook(type(error), error, error.__traceback__)
    print(f"item-jax: stopped: {cluster.first_line(error)}", file=sys.stderr)
    return EXIT_FAILED
