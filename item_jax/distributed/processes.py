"""Ends processes well: on a signal, with their parent, with a last message.

The exit codes are those of the command line. They stand here because some ends
cannot wait for it: a thread ends the process while the main thread compiles,
waits for another process, or holds a library that aborts.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import TextIO

from item_jax.distributed import private_apis
from item_jax.errors import UserError

# EX_TEMPFAIL: the same command, started again, continues where it was.
EXIT_START_AGAIN = 75
EXIT_FAILED = 4  # the work failed on the way: a disk, or the work itself
EXIT_STALLED = 6  # a process of the run, maybe this one, stood still or died
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@contextlib.contextmanager
def notified_of_signals(notify: Callable[[int], None]) -> Iterator[None]:
  """Calls `notify` in a thread, at once, for each signal that Python handles.

  Handlers run in the main thread between two steps of Python, which may be
  minutes apart while it compiles or waits for other processes.
  """
  read_end, write_end = os.pipe()
  os.set_blocking(write_end, False)
  before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

  def listen() -> None:
    while number := os.read(read_end, 1):
      notify(number[0])
    os.close(read_end)

  threading.Thread(target=listen, daemon=True).start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(before)
    os.close(write_end)  # ends the thread


@contextlib.contextmanager
def ended_by_signals(code: int) -> Iterator[None]:
  """SIGTERM and Ctrl-C end the process with `code`, whatever it is busy with.

  Until somebody else handles them; Ctrl-C stays ignored where a shell ignores
  it. Standard error is told that the same command goes on.
  """
  global _ends_on_signals

  told, ending = None, threading.RLock()
  with contextlib.suppress(OSError, ValueError):  # one that is no file
    told = sys.stderr.fileno()

  def end(number: int, frame=None) -> None:
    del number, frame
    if _before_end is not None:
      _before_end()
    # A signal is heard by a thread and by Python's handler: who comes second
    # waits for the first, who ends the process, so that it is told, and once.
    with ending:
      with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        # Past Python's buffer, to which the main thread may be writing. A pipe
        # that is full would hold the process for ever.
        if told is not None and select.select([], [told], [], 0)[1]:
          os.write(told, b"\n" * os.isatty(told) + _GOES_ON)
      os._exit(code)

  def notify(number: int) -> None:
    if signal.getsignal(number) is end:
      end(number)

  with notified_of_signals(notify):
    before = {
      number: signal.signal(number, end)
      for number in STOP_SIGNALS
      if signal.getsignal(number) is not signal.SIG_IGN
    }
    _ends_on_signals = True
    try:
      yield
    finally:
      _ends_on_signals = False
      for number, handler in before.items():
        signal.signal(number, handler)


_ends_on_signals = False
_GOES_ON = b"item-jax: stopped; the same command goes on\n"


def ends_on_signals() -> bool:
  """Whether this process runs in `ended_by_signals`: a command, no notebook."""
  return _ends_on_signals


class Terminated(KeyboardInterrupt):
  """SIGTERM came: what is half done is cleaned up, as after Ctrl-C."""


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
  """SIGTERM raises Terminated in the main thread; a second one kills.

  It stays ignored where a shell ignores it.
  """
  heard = []

  def interrupt(number: int, frame=None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated

  def notify(number: int) -> None:
    # The main thread may be in a library for minutes, and handle none of them.
    if number == signal.SIGTERM and signal.getsignal(number) is interrupt:
      heard.append(number)
      if len(heard) > 1:
        os._exit(128 + number)

  in_main = threading.current_thread() is threading.main_thread()
  if not in_main or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
    yield  # Python allows handlers only there
    return
  with notified_of_signals(notify):
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
      yield
    finally:
      signal.signal(signal.SIGTERM, before)


def before_end(call: Callable[[], None] | None) -> None:
  """Sets what `ended_by_signals` calls before it ends the process, if any."""
  global _before_end
  _before_end = call


_before_end = None


def write_last_message(text: str, stream: TextIO) -> None:
  """Writes a line of a process that is about to end.

  Not by logging: a thread that hangs in it may hold its lock for ever.
  """
  stream.write(text + "\n")
  stream.flush()


def die_with_parent(parent: int) -> None:
  """Makes the kernel kill this process when its parent ends, however it ends.

  A worker calls it first. Linux only; elsewhere a worker ends when its pipe to
  the parent breaks.

  Args:
    parent: the parent's process id, as the parent saw it: the parent may have
      ended before this process could ask for it.
  """
  if not _LINUX:
    return
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:
    os.kill(os.getpid(), signal.SIGKILL)


def on_abort(end: Callable[[], None]) -> None:
  """Calls `end` when a library aborts this process; the last one set counts.

  C's abort() calls no Python handler: that would run between two steps of a
  main thread that may wait for ever. `end` runs at once, in the thread that
  aborts, and must end the process; otherwise the process aborts after it.
  """
  global _abort_handler
  _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: end())
  libc = ctypes.CDLL(None)
  libc.signal.restype = ctypes.c_void_p
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal(signal.SIGABRT, ctypes.cast(_abort_handler, ctypes.c_void_p))


_abort_handler = None  # kept alive: the C library holds only its address


def name_shared_memory(owner: int) -> None:
  """Names this worker's shared memory after the process that it works for."""
  private_apis.name_shared_memory(shared_memory_prefix(owner))


def sweep_shared_memory() -> None:
  """Has the segments of `name_shared_memory` removed when this process ends.

  Python's own tracker removes those that it was notified of, which leaves out
  what a killed process had created but not yet reported. So a shell waits for
  the end of this process, gives the tracker two seconds, and looks itself.
  """
  if not _LINUX:
    return
  global _sweeper
  if _sweeper is None:
    private_apis.start_quiet_tracker()
    _sweeper = subprocess.Popen(
      [
        "sh",
        "-c",
        'read -r _; sleep 2; rm -f "/dev/shm/$0"*',
        shared_memory_prefix(os.getpid()),
      ],
      stdin=subprocess.PIPE,  # ends with this process, however it ends
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,  # a signal to the whole group is not for it
    )


_sweeper = None


def shared_memory_prefix(owner: int) -> str:
  """How the names of segments begin that were made for process `owner`."""
  # Containers that share /dev/shm give the same numbers to their processes.
  namespace = 0
  with contextlib.suppress(OSError):  # only Linux has it
    namespace = os.stat("/proc/self/ns/pid").st_ino
  code = zlib.crc32(f"{namespace} {owner}".encode())
  return f"i{code & 0xFFFFFF:06x}_"  # a name has 14 letters on some systems


def allow_open_files(count: int) -> None:
  """Raises this process's soft limit of open files to at least `count`.

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
  """Whether another process of this machine has the number `pid`."""
  if pid == os.getpid():  # it had this number before this process
    return False
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    pass  # another user's, but alive
  return True
