"""Turns SIGTERM and Ctrl-C into a question that a loop asks between steps."""

import contextlib
import os
import signal
import sys
import threading
import time

import jax
from jax.experimental import multihost_utils

from item_jax.distributed import cluster
from item_jax.distributed.private_apis import (
  get_sigterm_handler,
  set_sigterm_handler,
)
from item_jax.distributed.processes import (
  EXIT_START_AGAIN,
  STOP_SIGNALS,
  ends_on_signals,
  notified_of_signals,
  on_abort,
  write_last_message,
)

_LEFT = "item_jax/left"  # prefix of keys: one for each process that left
_DRAIN_DELAY = 3  # s in which the others notice that a process left


class Preempted(Exception):  # noqa: N818 - nothing went wrong
  """A stop was requested: the same call continues the unfinished work."""


class PreemptionHandler:
  """A context in which SIGTERM and Ctrl-C request a stop instead of forcing it.

  Until `begin` there is nothing to save. A command then ends at once with
  EXIT_START_AGAIN, whatever the main thread is busy with: a compiler does not
  let Python's handlers run, but a thread reads what woke them. The other
  processes of the run, which could not take their first step either, follow.
  Outside a command (in a notebook) signals do until then what they did before.

  From `begin` on, with one process, the handlers are ours: a second Ctrl-C
  interrupts as usual, a second SIGTERM changes nothing. With many processes
  JAX's preemption service has SIGTERM and makes all of them agree on a step;
  Ctrl-C is passed on to it.
  """

  def __init__(self):
    self._store = cluster.store()
    self._many = self._store is not None
    self._exits_early = ends_on_signals()
    self._stop = False
    self._requested_early = False  # before the first step
    self._steps = 0  # begun
    # Held by whoever comes first: the first step, or the stop before it.
    self._first_step = threading.Lock()
    self._sync_points = 0
    self._before = {}
    self._listening = contextlib.ExitStack()

  def __enter__(self):
    self._jax_handler = get_sigterm_handler() if self._many else None
    self._over = threading.Event()
    if self._exits_early:
      self._listening.enter_context(notified_of_signals(self._on_signal))
      self._install()
      if self._many:
        threading.Thread(target=self._follow_others, daemon=True).start()
    return self

  def _install(self) -> None:
    if threading.current_thread() is not threading.main_thread():
      return  # Python allows handlers only there
    for number in STOP_SIGNALS:
      # A shell has Ctrl-C ignored in what it runs in the background.
      if signal.getsignal(number) is not signal.SIG_IGN:
        self._before[number] = signal.signal(number, self._request)

  def __exit__(self, *error):
    self._over.set()
    for number, handler in self._before.items():
      # None: not installed from Python, as JAX's is.
      signal.signal(number, handler or signal.SIG_DFL)
    if self._jax_handler is not None:
      set_sigterm_handler(self._jax_handler)
    self._listening.close()

  def begin(self) -> None:
    """Declares that a step begins: from now on there is something to save."""
    with self._first_step:
      if not self._steps:
        if not self._exits_early:
          self._install()
        if self._jax_handler is not None:
          set_sigterm_handler(self._jax_handler)
      self._steps += 1
    if self._many and self._requested_early:
      self._requested_early = False
      os.kill(os.getpid(), signal.SIGTERM)

  def should_stop(self) -> bool:
    """Whether to stop now; the same answer in every process.

    Every process must ask equally often and at the same moments.
    """
    if self._many and not self._stop:
      self._sync_points += 1
      self._stop = bool(
        multihost_utils.reached_preemption_sync_point(self._sync_points)
      )
    return self._stop

  def _request(self, number, frame) -> None:
    del frame
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, signal.default_int_handler)
    if not self._many:
      self._stop = True
    elif self._steps:
      os.kill(os.getpid(), signal.SIGTERM)
    else:
      self._requested_early = True

  def _on_signal(self, number: int) -> None:
    with self._first_step:
      if number in STOP_SIGNALS and not self._steps:
        self._leave("")

  def _follow_others(self) -> None:
    """Leaves when another process left before the first step."""
    # When the third begins, the first has ended in every process.
    while self._steps < 3 and not self._over.wait(1):
      try:
        others = self._store.key_value_dir_get(_LEFT)
      except jax.errors.JaxRuntimeError:
        return  # the store is gone: the watchdog reports that
      if others:
        with self._first_step:
          self._leave(" by another process")

  def _leave(self, why: str) -> None:
    try:
      message = f"stopped{why} before the first step; start again"
      write_last_message(message, sys.stdout)
      if self._many:
        # Process 0 may be gone first, and jax aborts a process that misses it.
        on_abort(lambda: os._exit(EXIT_START_AGAIN))
        key = f"{_LEFT}/{jax.process_index()}"
        self._store.key_value_set(key, "", allow_overwrite=True)
        time.sleep(_DRAIN_DELAY)
    finally:  # whether or not anybody reads the message
      os._exit(EXIT_START_AGAIN)
