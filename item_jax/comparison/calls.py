"""Words of an `item-jax` command in, its exit code out; its output in a log."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from item_jax.errors import UserError

EXIT_START_AGAIN = 75  # as `item-jax train` says: saved, not done
_LINES = 12  # of a log that an error shows


class FailedError(UserError):
  """A command of the comparison failed; the message ends with its output."""


class Commands:
  """A context that runs one command at a time, each in a process of its own.

  A fresh process gives back all memory, the device's too. It is in a session
  of its own, so that Ctrl-C reaches the comparison alone; that passes it on
  as SIGTERM and waits, as training saves then, and a second one kills.
  """

  def __init__(self):
    self._child = None
    self._asked = 0
    self._before = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *error):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _ask(self, number, frame) -> None:
    del number, frame
    self._asked += 1
    if self._child is None:
      raise KeyboardInterrupt
    if self._asked == 1:
      self._child.terminate()
    else:
      self._child.kill()

  def __call__(self, words: Sequence, log: Path) -> int:
    """Runs `item-jax *words`; appends its output to `log`.

    Raises:
      KeyboardInterrupt: we were asked to stop; the command has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    line = [str(word) for word in words]
    with log.open("ab") as file:
      file.write(f"$ item-jax {' '.join(line)}\n".encode())
      file.flush()
      module = "item_jax.comparison.child"
      self._child = subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), *line],
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
      try:
        code = self._child.wait()
      finally:
        self._child = None
    if self._asked:
      raise KeyboardInterrupt
    return code


def must(call, words: Sequence, log: Path) -> None:
  """Runs a command that has no excuse."""
  code = call(words, log)
  if code:
    raise FailedError(failure(words, code, log))


def failure(words: Sequence, code: int, log: Path) -> str:
  lines = []
  if log.is_file():
    lines = log.read_text("utf-8", "replace").splitlines()[-_LINES:]
  return (
    f"item-jax {words[0]} ended with {code}; {log} says last:\n  "
    + "\n  ".join(lines)
  )
