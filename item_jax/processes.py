"""How processes end: with their parent, and not without a last word."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(parent: int) -> None:
  """Makes the kernel kill this process when its parent ends, however.

  To be called first thing in a worker. Linux only; elsewhere a worker ends
  when its pipe to the parent breaks.

  Args:
    parent: the parent's process id, as the parent saw it: it may have ended
      before this process could ask.
  """
  if sys.platform != "linux":
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
