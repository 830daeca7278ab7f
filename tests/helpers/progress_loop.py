"""A loop that only waits for the other processes, watched as a run is.

python progress_loop.py FLAGS... [--hang=PROCESS:STAGE:STEP] [--fail=...]
  [--refuse=...] [--late=PROCESS:SECONDS] [--stops=early|together]
  [--join_seconds=S]

--late: one process takes so long, in many steps, and the other waits for it.
--stops: what SIGTERM is to do, as in `export` or in `train`'s set-up.
"""

import argparse
import contextlib
import sys
import time

import jax

from item_jax.distributed import cluster, processes, watchdog
from item_jax.distributed.preemption import PreemptionHandler
from item_jax.distributed.watchdog import Watchdog
from item_jax.errors import UserError


def main() -> int:
  parser = argparse.ArgumentParser()
  cluster.add_flags(parser)
  parser.add_argument("--hang", default="")
  parser.add_argument("--fail", default="")
  parser.add_argument("--same", help="a value that processes must agree on")
  parser.add_argument("--steps", type=int, default=10**6)
  parser.add_argument("--refuse", default="")
  parser.add_argument("--late", default="")
  parser.add_argument("--stops", default="")
  parser.add_argument("--join_seconds", type=float)
  args = parser.parse_args()
  try:
    with contextlib.ExitStack() as held:
      if args.stops:
        held.enter_context(processes.ended_by_signals(75))
      together = args.stops == "together"
      joining = argparse.Namespace(**vars(args))
      joining.stall_seconds = args.join_seconds or args.stall_seconds
      cluster.join(joining, {"lr": args.same}, stops_together=together)
      return run(args)
  except UserError as error:
    print(f"item-jax: error: {error}")
    return 2


def run(args) -> int:
  me = jax.process_index()
  with contextlib.ExitStack() as held:
    progress = held.enter_context(Watchdog(args.stall_seconds))
    if args.stops == "together":
      held.enter_context(PreemptionHandler())
    if args.late:
      be_late(progress, *args.late.split(":"))
    for step in range(args.steps):
      for stage in ("input", "step"):
        progress.update(stage, step)
        if args.hang == f"{me}:{stage}:{step}":
          time.sleep(10**6)
        if args.fail == f"{me}:{stage}:{step}":
          raise OSError("no such photo")
        if args.refuse == f"{me}:{stage}:{step}":
          raise UserError("no such option")
      if cluster.store() is not None:
        cluster.store().wait_at_barrier(f"step {step}", 10**6)
      if step == min(100, args.steps - 1):  # all have heard of each other
        print("running", flush=True)
      time.sleep(0.02)
  return 0


def be_late(progress, who: str, seconds: str) -> None:
  """One process goes from step to step while the others wait behind it."""
  watchdog.GRACE_PERIOD = 0
  until = time.monotonic() + float(seconds)
  progress.update("step", 0)
  step = 0
  while jax.process_index() == int(who) and time.monotonic() < until:
    step += 1
    progress.update("step", step)
    time.sleep(0.1)
  cluster.store().wait_at_barrier("late", 10**6)


if __name__ == "__main__":
  with cluster.failing_at_once():
    code = main()
  sys.exit(cluster.end(code))
