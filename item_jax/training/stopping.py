"""Turns SIGTERM and Ctrl-C into a question that a loop asks between steps."""

import os
import signal

import jax
from jax.experimental import multihost_utils

# EX_TEMPFAIL: the state is saved; the same command goes on from there.
EXIT_START_AGAIN = 75


class StopRequest:
  """A context in which SIGTERM and Ctrl-C ask for a stop instead of forcing it.

  One process: the handlers are ours; a second Ctrl-C interrupts as usual.
  Many: JAX's preemption service has SIGTERM and makes all processes agree on
  a step; Ctrl-C is passed on to it.
  """

  def __init__(self):
    self._asked = False
    self._many = jax.process_count() > 1
    self._before = {}

  def __enter__(self):
    numbers = [signal.SIGINT] if self._many else [signal.SIGINT, signal.SIGTERM]
    for number in numbers:
      self._before[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *error):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _ask(self, number, frame) -> None:
    del frame
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, self._before[signal.SIGINT])
    if self._many:
      os.kill(os.getpid(), signal.SIGTERM)
    self._asked = True

  def agreed(self, step: int) -> bool:
    """Whether to stop after `step`; the same answer in every process."""
    if self._many:
      return bool(multihost_utils.reached_preemption_sync_point(step))
    return self._asked
