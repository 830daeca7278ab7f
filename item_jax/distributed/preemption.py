"""Turns SIGTERM and Ctrl-C into a question that a loop asks between steps."""

import contextlib
import ctypes
import os
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from item_jax.distributed import cluster
from item_jax.distributed.processes import (
  ASK_TO_STOP,
  EXIT_START_AGAIN,
  heard,
  on_abort,
)

_HANDLER_BYTES = 1024  # more than any system's struct sigaction
_LEFT = "item_jax/left"  # and below it the process
_FAREWELL = 3  # s in which the others hear that a process left


class Preempted(Exception):  # noqa: N818 - nothing went wrong
  """Work was left unfinished because a stop was asked for."""


class PreemptionHandler:
  """A context in which SIGTERM and Ctrl-C ask for a stop instead of forcing it.

  Until `begin` there is nothing to save, and the process ends at once with
  EXIT_START_AGAIN, whatever the main thread is busy with: a compiler does not
  let Python's handlers run, but a thread reads what woke them. The other
  processes of the run, which could not take their first step either, follow.

  From then on, one process: the handlers are ours; a second Ctrl-C interrupts
  as usual, a second SIGTERM changes nothing. Many: JAX's preemption service
  has SIGTERM and makes all processes agree on a moment; Ctrl-C is passed on
  to it.
  """

  def __init__(self):
    self._store = cluster.store()
    self._many = self._store is not None
    self._asked = False
    self._early = False  # asked before the first step
    self._begun = 0  # steps
    self._first = threading.Lock()  # whose it is: the first step or the stop
    self._questions = 0
    self._before = {}
    self._heard = contextlib.ExitStack()

  def __enter__(self):
    self._theirs = _get_handler() if self._many else None
    self._heard.enter_context(heard(self._hear))
    for number in ASK_TO_STOP:
      # A shell has Ctrl-C ignored in what it runs in the background.
      if signal.getsignal(number) is not signal.SIG_IGN:
        self._before[number] = signal.signal(number, self._ask)
    self._over = threading.Event()
    if self._many:
      threading.Thread(target=self._hear_others, daemon=True).start()
    return self

  def __exit__(self, *error):
    self._over.set()
    for number, handler in self._before.items():
      # None: not installed from Python, as JAX's is.
      signal.signal(number, handler or signal.SIG_DFL)
    if self._theirs is not None:
      _set_handler(self._theirs)
    self._heard.close()

  def begin(self) -> None:
    """Says that a step begins: from now on there is something to save."""
    with self._first:
      if self._many and not self._begun:
        _set_handler(self._theirs)
      self._begun += 1
    if self._many and self._early:
      self._early = False
      os.kill(os.getpid(), signal.SIGTERM)

  def agreed(self) -> bool:
    """Whether to stop now; the same answer in every process.

    To be asked equally often, at the same moments, in every process.
    """
    if self._many and not self._asked:
      self._questions += 1
      self._asked = bool(
        multihost_utils.reached_preemption_sync_point(self._questions)
      )
    return self._asked

  def _ask(self, number, frame) -> None:
    del frame
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, signal.default_int_handler)
    if not self._many:
      self._asked = True
    elif self._begun:
      os.kill(os.getpid(), signal.SIGTERM)
    else:
      self._early = True

  def _hear(self, number: int) -> None:
    with self._first:
      if number in ASK_TO_STOP and not self._begun:
        self._leave("")

  def _hear_others(self) -> None:
    """Leaves when another process did so before the first step."""
    # When the third begins, the first has come to its end, everywhere.
    while self._begun < 3 and not self._over.wait(1):
      try:
        others = self._store.key_value_dir_get(_LEFT)
      except jax.errors.JaxRuntimeError:
        return  # the store is gone: whoever watches over stalls says so
      if others:
        with self._first:
          self._leave(" by another process")

  def _leave(self, why: str) -> None:
    try:
      print(f"stopped{why} before the first step; start again", flush=True)
      if self._many:
        # Process 0 may be gone first, and jax aborts who misses it.
        on_abort(lambda: os._exit(EXIT_START_AGAIN))
        key = f"{_LEFT}/{jax.process_index()}"
        self._store.key_value_set(key, "", allow_overwrite=True)
        time.sleep(_FAREWELL)
    finally:  # whether or not anybody reads that
      os._exit(EXIT_START_AGAIN)


def _get_handler():
  """Who has SIGTERM, Python or not: bytes that `_set_handler` takes."""
  handler = ctypes.create_string_buffer(_HANDLER_BYTES)
  ctypes.CDLL(None).sigaction(int(signal.SIGTERM), None, handler)
  return handler


def _set_handler(handler) -> None:
  ctypes.CDLL(None).sigaction(int(signal.SIGTERM), handler, None)
