"""`item-jax` with export's shards of a few rows, so that tiny data has many.

python small_shards.py WORDS...: one call, which SIGKILLs itself as the file
KILLED_AT of the environment is to come. `start`, `end` and `kill_at_random` are
for a process that makes several, each in a process of its own.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from item_jax import bars
from item_jax.__main__ import main
from item_jax.inference import export

ROWS = 16
export.SHARD_ROWS = ROWS


def start(words, *, killed_at: str | None = None) -> int:
  """The process that works on; it may SIGKILL itself as a file is to come."""
  process = os.fork()  # no device was asked for yet, so there are no threads
  if process:
    return process
  die_at(killed_at)
  code = main(words)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def die_at(name: str | None) -> None:
  """From here on this process SIGKILLs itself as a file is to get this name."""
  replace = Path.replace

  def replace_or_die(path, target):
    if Path(target).name == name:
      os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

  Path.replace = replace_or_die


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
  bars.EVERY = 0.0  # a bar's last line says how many rows a process had
  die_at(os.environ.get("KILLED_AT"))
  sys.exit(main(sys.argv[1:]))
