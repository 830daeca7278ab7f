"""A loop that only waits for the other processes, watched as a run is.

python progress_loop.py FLAGS... [--hang=PROCESS:STAGE:STEP] [--fail=...]
"""

import argparse
import sys
import time

import jax

from item_jax.errors import UserError
from item_jax.training import cluster
from item_jax.training.stall import Progress


def main() -> int:
  parser = argparse.ArgumentParser()
  cluster.add_flags(parser)
  parser.add_argument("--hang", default="")
  parser.add_argument("--fail", default="")
  parser.add_argument("--same", help="a value that processes must agree on")
  parser.add_argument("--steps", type=int, default=10**6)
  args = parser.parse_args()
  try:
    cluster.join(args, {"lr": args.same})
  except UserError as error:
    print(f"item-jax: error: {error}")
    return 2
  me = jax.process_index()
  with Progress(args.stall_seconds) as progress:
    for step in range(args.steps):
      for stage in ("input", "step"):
        progress.at(stage, step)
        if args.hang == f"{me}:{stage}:{step}":
          time.sleep(10**6)
        if args.fail == f"{me}:{stage}:{step}":
          raise OSError("no such photo")
      if cluster.store() is not None:
        cluster.store().wait_at_barrier(f"step {step}", 10**6)
      if step == min(100, args.steps - 1):  # all have heard of each other
        print("running", flush=True)
      time.sleep(0.02)
  return 0


if __name__ == "__main__":
  sys.exit(main())
