"""One process of two saves to a disk that takes no more; asserts what follows.

python one_sided_save.py FOLDER WHO FLAGS..., started twice by test_saver.py.
The limit on the size of files that the kernel enforces is process WHO's alone.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import jax
import numpy as np

from item_jax.cli.output import printed_logs
from item_jax.config import Checkpoint
from item_jax.distributed import cluster
from item_jax.distributed.watchdog import Watchdog
from item_jax.training import saver, sharding
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.metric_log import Log


def limit(size: int | None) -> None:
  """No file may become larger than that."""
  _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  soft = hard if size is None else size
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def main() -> int:
  parser = argparse.ArgumentParser()
  cluster.add_flags(parser)
  parser.add_argument("folder", type=Path)
  parser.add_argument("who", type=int)
  args = parser.parse_args()
  cluster.join(args)
  mesh = sharding.make_mesh(1, 2)
  values = np.random.default_rng(0).normal(size=2**18).astype(np.float32)
  place = sharding.for_state(mesh, values)
  state = {
    "params": jax.make_array_from_callback(
      values.shape, place, lambda index: values[index]
    )
  }
  me = jax.process_index()
  saver.LAST_TRIES = (0, 0.05)
  log = Log(args.folder, start=0, active=me == 0)
  checkpoints = Checkpoints(args.folder)
  saves = saver.Saver(
    checkpoints, log, Checkpoint(every=10), log_every=1, saved=None
  )
  try:
    with Watchdog(args.stall_seconds) as progress:
      progress.update("checkpoint", 10)
      saves.save(10, state)
      saves.finish(10, state)
      if me == args.who:
        limit(4096)
      saves.save(20, state)
      while not saves.due(21):  # it failed, and is tried again
        time.sleep(0.01)
      limit(None)
      saves.save(21, state)
      saves.finish(21, state)
      checkpoints.verify(21)
      print(f"saved {checkpoints.steps()}", flush=True)
      if me == args.who:
        limit(4096)
      saves.finish(30, state)
  except SaveError as error:
    print(f"stopped: {error}", flush=True)
    return 4
  finally:
    checkpoints.close()
  return 0


if __name__ == "__main__":
  with printed_logs():
    sys.exit(main())
