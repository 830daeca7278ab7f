"""Words of `item-jax` commands in, an exit code out; their output in a log."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from item_jax.comparison import child
from item_jax.errors import UserError

_DEVICES = "CUDA_VISIBLE_DEVICES"
_LINES = 12  # of a log that an error shows


class FailedError(UserError):
  """A command of the comparison failed; the message ends with its output."""


class Commands:
  """A context that runs commands in a process of their own.

  A fresh process gives back all memory, the device's too. It is in a session
  of its own, so that Ctrl-C reaches the comparison alone; that passes it on
  as SIGTERM and waits, as training saves then, and a second one kills.
  """

  def __init__(self, cache: Path | None = None, *, jobs: int = 1):
    """Args:
    cache: keeps compiled programs: exports and seeds compile the same.
    jobs: commands that may run side by side, called from as many threads;
      each has its own share of the processor's cores, and of the devices that
      CUDA_VISIBLE_DEVICES lists.

    Raises:
      UserError: there are not as many cores, or listed devices.
    """
    self._places = queue.SimpleQueue()
    for place in _places(jobs):
      self._places.put(place)
    self._env = dict(os.environ)
    if cache is not None:
      for name, value in (
        ("JAX_COMPILATION_CACHE_DIR", str(cache.absolute())),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0"),
        ("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1"),
      ):
        self._env.setdefault(name, value)
    self._children = set()
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
    children = list(self._children)
    if not children:
      raise KeyboardInterrupt
    for one in children:
      if self._asked == 1:
        one.terminate()
      else:
        one.kill()

  def __call__(self, *commands: Sequence, log: Path) -> int:
    """Runs `item-jax *words` of each, up to the first that fails.

    Args:
      log: their output is appended to it.

    Raises:
      KeyboardInterrupt: we were asked to stop; the command has ended.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = []
    for command in commands:
      words += [child.NEXT] * bool(words) + [str(word) for word in command]
    place = self._places.get()
    try:
      if self._asked:
        raise KeyboardInterrupt
      code = self._run(words, log, place)
    finally:
      self._places.put(place)
    if self._asked:
      raise KeyboardInterrupt
    return code

  def _run(self, words: list[str], log: Path, place: dict) -> int:
    with log.open("ab") as file:
      one = subprocess.Popen(
        [sys.executable, "-m", child.__name__, str(os.getpid()), *words],
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        env=self._env | place,
        start_new_session=True,
      )
      self._children.add(one)
      try:
        if self._asked:  # while it started
          one.terminate()
        return one.wait()
      finally:
        self._children.discard(one)


def _places(jobs: int) -> list[dict[str, str]]:
  """The environment of each of the commands that run side by side."""
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
  for what, there in (("cores", cores), (f"devices in {_DEVICES}", devices)):
    if there and jobs > len(there):
      raise UserError(f"jobs={jobs}, but there are {len(there)} {what}")
  places = []
  for job in range(jobs):
    place = {}
    if cores:
      place[child.CORES] = ",".join(map(str, cores[job::jobs]))
    if devices:
      place[_DEVICES] = ",".join(devices[job::jobs])
    places.append(place)
  return places


def must(call, *commands: Sequence, log: Path) -> None:
  """Runs commands that have no excuse."""
  code = call(*commands, log=log)
  if code:
    names = dict.fromkeys(str(words[0]) for words in commands)
    raise FailedError(failure(" or ".join(names), code, log))


def failure(name: str, code: int, log: Path) -> str:
  lines = []
  if log.is_file():
    lines = log.read_text("utf-8", "replace").splitlines()[-_LINES:]
  return f"{name} ended with {code}; {log} says last:\n  " + (
    "\n  ".join(lines)
  )
