"""Ties the life of worker processes to that of their parent."""

import ctypes
import os
import signal
import sys

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
