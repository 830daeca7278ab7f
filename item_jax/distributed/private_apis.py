"""Holds every private interface of other libraries that the package relies on.

Each one says in which version it was read, and why no public one will do.
"""

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterator
from typing import Any

_HANDLER_BYTES = 1024  # more than any system's struct sigaction


def jax_cluster() -> Any:
  """The state of `jax.distributed`: client, process_id and num_processes.

  Read in jax 0.10.2. Public functions start and stop it, but give nobody its
  key-value store, and counting processes with `jax.process_count` waits for
  their devices.
  """
  from jax._src import distributed

  return distributed.global_state


def jax_computes() -> bool:
  """Whether jax has begun to use its devices, and has started its threads.

  Read in jax 0.10.2. Every public question about devices starts them.
  """
  bridge = sys.modules.get("jax._src.xla_bridge")
  return bridge is not None and bridge.backends_are_initialized()


@contextlib.contextmanager
def assumed_cudnn(version: int = 91_000) -> Iterator[None]:
  """Lets cuDNN's attention be lowered on a host that has no cuDNN.

  Read in jax 0.10.2. jax asks the installed library for its version before it
  looks at shapes, and there is no way to name another.

  Args:
    version: as cuDNN numbers itself, 91_000 for 9.10.
  """
  from jax._src.cudnn import fused_attention_stablehlo as attention

  asked = attention.check_cudnn_version
  attention.check_cudnn_version = lambda: version
  try:
    yield
  finally:
    attention.check_cudnn_version = asked


def name_shared_memory(prefix: str) -> None:
  """Sets how the names of this process's shared memory begin.

  Read in Python 3.11 to 3.14. Python gives segments random names, and those
  who create them (grain) do not let anybody choose.
  """
  # Here: it imports what commands that start no process need not wait for.
  from multiprocessing import shared_memory

  shared_memory._SHM_NAME_PREFIX = "/" + prefix  # pyright: ignore[reportAttributeAccessIssue]


def start_quiet_tracker() -> None:
  """Starts Python's tracker of what processes share, told to warn of nothing.

  A command that is stopped ends at once, and the tracker, which removes what is
  left, would warn the user of every piece of it. Read in Python 3.11 to 3.14:
  it is a process that takes over `sys.warnoptions` of the one that starts it.
  """
  from multiprocessing import resource_tracker

  sys.warnoptions.append("ignore:resource_tracker")
  try:
    resource_tracker.ensure_running()
  finally:
    sys.warnoptions.pop()


def get_sigterm_handler() -> ctypes.Array:
  """The handler of SIGTERM, also one that is not Python's.

  The bytes of the C library's struct sigaction, which is laid out differently
  on each system: only `set_sigterm_handler` can use them. Read for Linux
  (glibc 2.36) and macOS; `signal.getsignal` gives None for a handler such as
  that of jax.
  """
  handler = ctypes.create_string_buffer(_HANDLER_BYTES)
  ctypes.CDLL(None).sigaction(int(signal.SIGTERM), None, handler)
  return handler


def set_sigterm_handler(handler: ctypes.Array) -> None:
  """Installs what `get_sigterm_handler` returned."""
  ctypes.CDLL(None).sigaction(int(signal.SIGTERM), handler, None)
