"""Trains as `item-jax train` does, and sends itself a signal at one moment.

python signalled.py STAGE STEP SIGNAL TIMES train --config=... --workdir=...
"""

import os
import signal
import sys

from item_jax import __main__, config_flags
from item_jax.cli.output import printed_logs
from item_jax.distributed.preemption import Preempted
from item_jax.training.loop import train


class Signals:
  """Sends a real signal where the run enters one stage of one step."""

  def __init__(self, stage: str, step: str, number: str, times: str):
    self._where = (stage, int(step))
    self._number = signal.Signals[number]
    self._times = int(times)

  def update(self, stage: str, step: int) -> None:
    if (stage, step) == self._where:
      for _ in range(self._times):
        os.kill(os.getpid(), self._number)


def main() -> int:
  progress = Signals(*sys.argv[1:5])
  args, rest = __main__._make_parser().parse_known_args(sys.argv[5:])
  config = config_flags.parse(args.config, rest)
  with printed_logs():
    try:
      train(config, args.workdir, progress=progress)
    except Preempted as stop:
      print(stop)
      return 75
  return 0


if __name__ == "__main__":
  sys.exit(main())
