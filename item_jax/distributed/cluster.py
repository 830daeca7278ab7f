"""Joins the processes of one run, as flags and the environment describe it.

Where they cannot meet that is an error, so that no process that is one of many
ever works by itself.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from item_jax import __version__
from item_jax.distributed.private_apis import jax_cluster
from item_jax.distributed.processes import (
  EXIT_STALLED,
  EXIT_START_AGAIN,
  on_abort,
  write_last_message,
)
from item_jax.errors import UserError

STALL_SECONDS = 600
# Joining and leaving have an end where the watchdog is off, too.
_JOIN_SECONDS = 300
_DRAIN_DELAY = 3  # s in which the other processes read the last keys
# What may differ between the processes of one run.
_OWN_FLAGS = ("--process_id", "--coordinator")
_KEYS = "item_jax/join"
# Variables that say how many processes there are. Of Slurm's, that of a step:
# a batch script has SLURM_NTASKS too, and runs once.
COUNTS = {
  "SLURM_STEP_NUM_TASKS": int,
  "OMPI_COMM_WORLD_SIZE": int,
  "PMI_SIZE": int,
  "MEGASCALE_NUM_SLICES": int,
  "TPU_WORKER_HOSTNAMES": lambda names: len(names.split(",")),
  "TPU_PROCESS_ADDRESSES": lambda names: len(names.split(",")),
  # An indexed Job of Kubernetes does not say how many.
  "JOB_COMPLETION_INDEX": lambda index: 2,
}


def add_flags(sub: argparse.ArgumentParser) -> None:
  """Adds the flags of `join` to a command that many processes run together."""
  sub.add_argument(
    "--distributed",
    action="store_true",
    help="one of many processes, as Slurm, a TPU pod, Kubernetes or Open MPI"
    " says",
  )
  sub.add_argument(
    "--coordinator",
    metavar="HOST:PORT",
    help="where process 0 listens; with the next two instead of --distributed",
  )
  sub.add_argument(
    "--num_processes", type=int, metavar="N", help="of all hosts"
  )
  sub.add_argument("--process_id", type=int, metavar="I", help="0 to N - 1")
  sub.add_argument(
    "--stall_seconds",
    type=float,
    default=STALL_SECONDS,
    metavar="S",
    help="end when nothing moves for so long; 0: wait for ever",
  )


def join(
  args: argparse.Namespace,
  same: Mapping[str, Any] | None = None,
  *,
  stops_together: bool = False,
) -> None:
  """Joins the other processes of this run; does nothing where there are none.

  Call it before anything else uses jax's devices.

  Args:
    args: with the flags of `add_flags`.
    same: {name: JSON value} that must not differ between processes, besides
      versions, the command and the number of devices.
    stops_together: whether jax handles SIGTERM, so that all processes agree on
      a step (`preemption.PreemptionHandler`); else each handles its own.

  Raises:
    UserError: the flags, the environment and the other processes don't fit
      together, or did not meet within `stall_seconds` (5 minutes if 0).
  """
  many = _check_flags(args)
  if not many:
    if args.num_processes is None:
      _refuse_single_process()
    return
  seconds = int(args.stall_seconds) or _JOIN_SECONDS
  import jax

  jax.config.update("jax_enable_preemption_service", stops_together)
  _initialize(args, seconds)

  try:
    _check_alike(same or {}, seconds)
  except jax.errors.JaxRuntimeError as error:
    raise UserError(
      f"the processes met and lost each other again: {first_line(error)}"
    ) from error


def store() -> Any:
  """The key-value store of the processes; None where there is one process.

  Its class is private to jaxlib.
  """
  if "jax" not in sys.modules:
    return None  # a process that has not loaded it has not joined
  return jax_cluster().client


def _check_flags(args) -> bool:
  """Whether there are many processes."""
  if not 0 <= args.stall_seconds < math.inf:
    raise UserError(
      f"--stall_seconds={args.stall_seconds}: expected a number of seconds, or"
      " 0 to wait for ever"
    )
  given = {
    "--coordinator": args.coordinator,
    "--num_processes": args.num_processes,
    "--process_id": args.process_id,
  }
  present = [name for name, value in given.items() if value is not None]
  if args.distributed and present:
    raise UserError(
      f"--distributed finds out what {', '.join(present)} says: give one or the"
      " other"
    )
  if present == ["--num_processes"] and args.num_processes == 1:
    return False
  if present and len(present) < len(given):
    missing = [name for name in given if name not in present]
    raise UserError(
      f"{', '.join(present)} without {', '.join(missing)}: give all three"
    )
  if present and not 0 <= args.process_id < args.num_processes:
    raise UserError(
      f"--process_id={args.process_id} is not between 0 and"
      f" --num_processes={args.num_processes} less one"
    )
  if present and not args.coordinator.rpartition(":")[2].isdigit():
    raise UserError(f"--coordinator={args.coordinator} is no HOST:PORT")
  return args.distributed or bool(present)


def _refuse_single_process() -> None:
  """Raises UserError where the environment says that there are others."""
  found = [
    f"{name}={os.environ[name]}"
    for name, count in COUNTS.items()
    if os.environ.get(name) and count(os.environ[name]) > 1
  ]
  if found:
    raise UserError(
      f"this is one of many processes ({', '.join(found)}), each of which"
      " would work alone: give --distributed, or --num_processes=1 if it is"
      " meant to be alone"
    )


def _initialize(args, seconds: int) -> None:
  import jax

  if args.distributed:
    hint = (
      f"the processes did not meet within {seconds} s: --distributed needs"
      " Slurm (under srun), a TPU pod, Open MPI 4 or Kubernetes; elsewhere"
      " give --coordinator, --num_processes and --process_id"
    )
  else:
    hint = (
      f"process {args.process_id} of {args.num_processes} did not meet the"
      f" others at {args.coordinator} within {seconds} s: is each of them"
      " started, with a --process_id of its own?"
    )

  def end() -> None:
    write_last_message(f"item-jax: error: {hint}", sys.stderr)
    os._exit(2)

  # jax aborts where processes don't meet, and prints why.
  on_abort(end)
  try:
    jax.distributed.initialize(
      args.coordinator,
      args.num_processes,
      args.process_id,
      # The flags count: no environment adds to them.
      cluster_detection_method=None if args.distributed else "deactivate",
      initialization_timeout=seconds,
      # jax ends a process whose peer is silent, and does not say where the
      # run was: the watchdog must be first.
      heartbeat_timeout_seconds=2 * seconds + 30,
      shutdown_timeout_seconds=seconds,
    )
  except (ValueError, RuntimeError, KeyError) as error:
    raise UserError(f"{hint} ({first_line(error)})") from error
  on_abort(_end_without_peer)


def _end_without_peer() -> None:
  write_last_message(
    "item-jax: stalled: another process of this run is gone, as jax says above",
    sys.stderr,
  )
  os._exit(EXIT_STALLED)


def end(code: int) -> int:
  """Returns a command's exit code; ends one of many processes that failed.

  Python's own end would wait for the other processes, and they for this one,
  until jax aborts it with another code and another reason. Waiting is right
  where nothing failed: all start again, or some found something wrong (1).
  """
  if code not in (0, 1, EXIT_START_AGAIN) and store() is not None:
    _leave(code)
  return code


def _leave(code: int) -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError):  # a full disk changes no code
      stream.flush()
  os._exit(code)


@contextlib.contextmanager
def failing_at_once() -> Iterator[None]:
  """Ends one of many processes at an unexpected error: traceback and code 1."""
  try:
    yield
  except (SystemExit, BrokenPipeError):
    raise
  except BaseException as error:
    if store() is not None:
      sys.excepthook(type(error), error, error.__traceback__)
      _leave(1)
    raise


def first_line(error: BaseException) -> str:
  return f"{type(error).__name__}: {error}".splitlines()[0]


def _check_alike(same: Mapping[str, Any], seconds: int) -> None:
  import jax

  count = jax_cluster().num_processes
  facts = {
    "item_jax": __version__,
    "jax": jax.__version__,
    "python": platform.python_version(),
    "command": strip_own(sys.argv[1:]),
    "number of processes": count,
    **same,
  }
  # Before jax looks for devices: for that it waits for all processes.
  _compare("what runs", facts, seconds)
  if jax.process_count() != count:
    raise UserError(
      f"{count} processes have met, jax counts {jax.process_count()}"
    )
  _compare("devices", {"local devices": jax.local_device_count()}, seconds)


def _compare(what: str, facts: Mapping[str, Any], seconds: int) -> None:
  """Raises UserError, in every process, where one has something else."""
  client, me = store(), jax_cluster().process_id
  keys = f"{_KEYS}/{what}"
  # All read those of process 0; the others write only what differs.
  if me == 0:
    client.key_value_set(f"{keys}/facts", json.dumps(facts))
  theirs = json.loads(
    client.blocking_key_value_get(f"{keys}/facts", seconds * 1000)
  )
  ours = json.loads(json.dumps(facts))  # tuples are lists there
  differing = [
    f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
    for name in sorted(theirs.keys() | ours.keys())
    if theirs.get(name) != ours.get(name)
  ]
  text = f"process {me} ({platform.node()}): " + "; ".join(differing)
  client.key_value_set(f"{keys}/differs/{me}", text if differing else "")
  client.wait_at_barrier(f"{keys}/compared", seconds * 1000)
  found = [t for _, t in client.key_value_dir_get(f"{keys}/differs") if t]
  if found:
    if me == 0:  # the store ends with it, and jax aborts who still reads
      time.sleep(_DRAIN_DELAY)
    raise UserError(
      "the processes of a run must be alike; process 0 has it otherwise:\n"
      + "\n".join(found)
    )


def strip_own(argv: list[str]) -> list[str]:
  """The arguments of a command without those that are each process's own."""
  kept, rest = [], iter(argv)
  for argument in rest:
    name, equals, _ = argument.partition("=")
    if name not in _OWN_FLAGS:
      kept.append(argument)
    elif not equals:
      next(rest, None)  # its value is the next argument
  return kept
