"""`item-jax` with export's shards of a few rows, so that tiny data has many.

python small_shards.py WORDS...: one call. `call` and `kill` are for a process
that makes several, each in a process of its own.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from item_jax.__main__ import main
from item_jax.evaluation import export

ROWS = 16
export.SHARD_ROWS = ROWS


def start(words, *, killed_at: str | None = None) -> int:
  """The process that works on; it may SIGKILL itself as a file is to come."""
  process = os.fork()  # no device was asked for yet, so there are no threads
  if process:
    return process
  replace = Path.replace

  def replace_or_die(path, target):
    if Path(target).name == killed_at:
      os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

  Path.replace = replace_or_die
  code = main(words)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def end(process: int) -> int:
  """Exit code; below zero is the signal that ended it."""
  return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_at_random(words, out: Path, source: random.Random) -> None:
  """SIGKILL at some time after it has claimed the folder."""
  process = start(words)
  while not any((out / name).exists() for name in ("plan.json", "meta.json")):
    time.sleep(0.001)
  time.sleep(source.uniform(0, 3))
  os.kill(process, signal.SIGKILL)
  end(process)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
