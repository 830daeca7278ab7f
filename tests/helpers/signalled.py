"""Trains as `item-jax train` does, and sends itself a signal at one moment.

python signalled.py STAGE STEP SIGNAL TIMES train --config=... --workdir=...
"""

import os
import signal
import sys

from item_jax import __main__, config_flags
from item_jax.inference.validation import make_evaluate
from item_jax.training.loop import train


class Signals:
  """Told where the run is, sends a real signal there."""

  def __init__(self, stage: str, step: str, number: str, times: str):
    self._where = (stage, int(step))
    self._number = signal.Signals[number]
    self._times = int(times)

  def at(self, stage: str, step: int) -> None:
    if (stage, step) == self._where:
      for _ in range(self._times):
        os.kill(os.getpid(), self._number)


def main() -> int:
  progress = Signals(*sys.argv[1:5])
  args, rest = __main__._make_parser().parse_known_args(sys.argv[5:])
  config = config_flags.parse(args.config, rest)
  return train(
    config, args.workdir, make_evaluate=make_evaluate, progress=progress
  )


if __name__ == "__main__":
  sys.exit(main())
