"""Runs `item-jax` commands in child processes, each with a log."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from item_jax.comparison import child
from item_jax.errors import UserError

_DEVICES = "CUDA_VISIBLE_DEVICES"
_LINES = 12  # of a log that an error shows


class FailedError(UserError):
  """A command of the comparison failed; the message ends with its output."""


class Commands:
  """A context that runs commands in child processes.

  A fresh process gives back all memory, the device's too. It is in a session
  of its own, so that Ctrl-C reaches only the comparison. That passes it on as
  SIGTERM and waits, as training saves then; a second Ctrl-C kills.
  """

  def __init__(self, cache: Path | None = None, *, jobs: int = 1):
    """Prepares as many slots as commands may run side by side.

    Args:
      cache: keeps compiled programs: exports and seeds compile the same.
      jobs: commands that may run side by side, called from as many threads;
        each has its own part of the processor's cores, and of the devices
        that CUDA_VISIBLE_DEVICES lists.

    Raises:
      UserError: there are not as many cores, or listed devices.
    """
    self._slots = queue.SimpleQueue()
    for slot in make_slots(jobs):
      self._slots.put(slot)
    self._env = dict(os.environ)
    if cache is not None:
      self._env = {
        "JAX_COMPILATION_CACHE_DIR": str(cache.absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        **os.environ,
      }
    self._children = set()
    self._signals = 0
    self._handlers = {}

  def __enter__(self) -> "Commands":
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._handlers[number] = signal.signal(number, self._stop)
    return self

  def __exit__(self, *error) -> None:
    for number, handler in self._handlers.items():
      signal.signal(number, handler)

  def _stop(self, number, frame) -> None:
    del number, frame
    self._signals += 1
    children = list(self._children)
    if not children:
      raise KeyboardInterrupt
    for process in children:
      process.send_signal(
        signal.SIGTERM if self._signals == 1 else signal.SIGKILL
      )

  def __call__(self, *commands: Sequence, log: Path) -> int:
    """Runs `item-jax` commands, up to the first that fails.

    Args:
      commands: the arguments of each.
      log: their output is appended to it.

    Returns:
      The last exit code.

    Raises:
      KeyboardInterrupt: a signal asked for a stop; the command has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = []
    for command in commands:
      argv += [child.NEXT] * bool(argv) + [str(part) for part in command]
    slot = self._slots.get()
    try:
      if self._signals:
        raise KeyboardInterrupt
      code = self._run(argv, log, slot)
    finally:
      self._slots.put(slot)
    if self._signals:
      raise KeyboardInterrupt
    return code

  def _run(self, argv: list[str], log: Path, slot: dict[str, str]) -> int:
    with log.open("ab") as file:
      process = subprocess.Popen(
        [sys.executable, "-m", child.__name__, str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        env=self._env | slot,
        start_new_session=True,
      )
      self._children.add(process)
      try:
        if self._signals:  # one came while it started
          process.terminate()
        return process.wait()
      finally:
        self._children.discard(process)


def make_slots(jobs: int) -> list[dict[str, str]]:
  """Divides cores and devices among commands that run side by side.

  Returns:
    The environment variables of each.

  Raises:
    UserError: there are fewer cores or devices than jobs, or nothing says
      which devices to divide.
  """
  if jobs == 1:
    return [{}]
  cores = []  # macOS pins nothing
  if hasattr(os, "sched_getaffinity"):
    cores = sorted(os.sched_getaffinity(0))
  listed = os.environ.get(_DEVICES)
  if listed is None and shutil.which("nvidia-smi"):
    raise UserError(
      f"jobs={jobs}, and nvidia-smi is there, but {_DEVICES} is not set: each"
      f" would take all devices. Say which to share, as {_DEVICES}=0,1; none"
      f" as {_DEVICES}="
    )
  devices = listed.split(",") if listed else []
  for what, found in (("cores", cores), (f"devices in {_DEVICES}", devices)):
    if found and jobs > len(found):
      raise UserError(f"jobs={jobs}, but there are {len(found)} {what}")
  parts = ((child.CORES, cores), (_DEVICES, devices))
  return [
    {
      name: ",".join(map(str, found[job::jobs]))
      for name, found in parts
      if found
    }
    for job in range(jobs)
  ]


def command(name: str, *words: str, **flags) -> list[str]:
  """The words of a command: its name, --FLAG=VALUE ..., and what follows."""
  return [name, *(f"--{flag}={value}" for flag, value in flags.items()), *words]


def check_call(execute: Callable, *commands: Sequence, log: Path) -> None:
  """Runs commands that must succeed.

  Raises:
    FailedError: one did not.
  """
  code = execute(*commands, log=log)
  if code:
    names = dict.fromkeys(str(command[0]) for command in commands)
    raise FailedError(describe_failure(" or ".join(names), code, log))


def describe_failure(name: str, code: int, log: Path) -> str:
  """Says that a command failed, with the last lines of its log."""
  lines = []
  if log.is_file():
    lines = log.read_text("utf-8", "replace").splitlines()[-_LINES:]
  how = f"ended with {code}"
  if code < 0:
    known = -code in {*signal.Signals}
    how = f"was killed by {signal.Signals(-code).name if known else -code}"
    if -code == signal.SIGKILL:
      how += " (out of memory, as a rule: see dmesg)"
  return f"{name} {how}; {log} says last:\n  " + "\n  ".join(lines)
