"""How processes end: when a signal asks for it, with their parent, and not
without a last word."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory

from item_jax.errors import UserError

# EX_TEMPFAIL: the same command, started again, goes on from where it was.
EXIT_START_AGAIN = 75
EXIT_FAILED = 4  # the work went wrong on the way: of the disk, or of itself
EXIT_STALLED = 6  # another process of the run, or this one, stood still or died
ASK_TO_STOP = (signal.SIGTERM, signal.SIGINT)
_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@contextlib.contextmanager
def heard(hear: Callable[[int], None]) -> Iterator[None]:
  """Has a thread told of each signal that Python handles, at once.

  Handlers run in the main thread between two steps of Python, which may be
  minutes apart: a compiler takes them, and who waits for other processes.
  """
  woken, wakes = os.pipe()
  os.set_blocking(wakes, False)
  before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

  def listen() -> None:
    while number := os.read(woken, 1):
      hear(number[0])
    os.close(woken)

  threading.Thread(target=listen, daemon=True).start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(before)
    os.close(wakes)  # ends the thread


@contextlib.contextmanager
def ended_by_signals(code: int) -> Iterator[None]:
  """SIGTERM and Ctrl-C end the process with `code`, whatever it is busy with.

  Until somebody else handles them; and not Ctrl-C where a shell had it ignored.
  """

  def end(number: int, frame=None) -> None:
    del number, frame
    if _farewell is not None:
      _farewell()
    os._exit(code)

  def hear(number: int) -> None:
    if signal.getsignal(number) is end:
      end(number)

  with heard(hear):
    before = {
      number: signal.signal(number, end)
      for number in ASK_TO_STOP
      if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)


def before_end(say: Callable[[], None] | None) -> None:
  """What `ended_by_signals` calls before it ends the process; None: nothing."""
  global _farewell
  _farewell = say


_farewell = None


def die_with_parent(parent: int) -> None:
  """Makes the kernel kill this process when its parent ends, however.

  To be called first thing in a worker. Linux only; elsewhere a worker ends
  when its pipe to the parent breaks.

  Args:
    parent: the parent's process id, as the parent saw it: it may have ended
      before this process could ask.
  """
  if not _LINUX:
    return
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    os.kill(os.getpid(), signal.SIGKILL)


def on_abort(end: Callable[[], None]) -> None:
  """Calls `end` when a library aborts this process; the last one given.

  C's abort() asks no Python handler: that would run between two steps of a
  main thread that may wait for ever. This one runs at once, in whichever
  thread aborts, and is to end the process; else it aborts after all.
  """
  global _last_word
  _last_word = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: end())
  libc = ctypes.CDLL(None)
  libc.signal.restype = ctypes.c_void_p
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal(signal.SIGABRT, ctypes.cast(_last_word, ctypes.c_void_p))


_last_word = None  # kept: the C library holds its bare address


def name_shared_memory(owner: int) -> None:
  """Makes names of shared memory say for whom it is; to be called in a worker.

  What Python calls its segments by has no public name (3.11 to 3.14).
  """
  shared_memory._SHM_NAME_PREFIX = "/" + shared_memory_prefix(owner)


def sweep_shared_memory() -> None:
  """Has the segments of `name_shared_memory` removed when this process ends.

  Python's own tracker removes those that it was told of: not what a process
  had made, but not yet told of, when it was killed. So a shell waits for the
  end of this process, lets the tracker have its turn, and looks itself.
  """
  if not _LINUX:
    return
  global _sweeper
  if _sweeper is None:
    _sweeper = subprocess.Popen(
      [
        "sh",
        "-c",
        'read -r _; sleep 2; rm -f "/dev/shm/$0"*',
        shared_memory_prefix(os.getpid()),
      ],
      stdin=subprocess.PIPE,  # ends with this process, however
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,  # a signal to the whole group is not for it
    )


_sweeper = None


def shared_memory_prefix(owner: int) -> str:
  """What the segments made for a process begin with."""
  # Containers that share /dev/shm give the same numbers to their processes.
  space = 0
  with contextlib.suppress(OSError):  # none but Linux's have it
    space = os.stat("/proc/self/ns/pid").st_ino
  whose = zlib.crc32(f"{space} {owner}".encode())
  return f"i{whose & 0xFFFFFF:06x}_"  # a name has 14 letters on some systems


def allow_open_files(count: int) -> None:
  """Raises this process's soft limit of open files where it is below `count`.

  Raises:
    UserError: its hard limit is lower.
  """
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  if soft == resource.RLIM_INFINITY or count <= soft:
    return
  if hard != resource.RLIM_INFINITY and count > hard:
    raise UserError(
      f"{count:,} files are to be open at once, and this process may open"
      f" {hard:,}: raise the limit (ulimit -n {count})"
    )
  resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def alive(pid: int) -> bool:
  """Whether another process of this machine has that number."""
  if pid == os.getpid():  # it had this number before us
    return False
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    pass  # somebody else's, but alive
  return True
