"""Makes a process keep the memory that it frees, where a CPU computes.

XLA for CPUs takes what a step needs by malloc and frees it after the step, a
hundred megabytes and more. glibc gives blocks of that size back to the system,
which has to find and zero each of their pages anew in the next step: a fifth of
the time of a small network's step.
"""

import ctypes
import importlib.util
import os
import sys

# Of glibc's malloc.h, and what they are set to: one heap for all threads, no
# block outside of it, and its end is not given back.
_OPTIONS = {"ARENA_MAX": (-8, 1), "MMAP_MAX": (-4, 0), "TRIM": (-1, -1)}
_ACCELERATORS = ("jax_plugins", "libtpu")  # what makes jax compute elsewhere
_GIVEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed() -> bool:
  """Keeps what is freed from here on; says whether it can.

  Nothing is done where jax has started its threads, which go on as they did;
  where the user has chosen an allocator or its options; without glibc; or where
  jax may find an accelerator.
  """
  # Private, as of jax 0.10: there is no other way to ask without starting it.
  bridge = sys.modules.get("jax._src.xla_bridge")
  if bridge is not None and bridge.backends_are_initialized():
    return False
  if any(name.startswith(_GIVEN) for name in os.environ):
    return False
  if os.environ.get("JAX_PLATFORMS", "") != "cpu" and any(
    importlib.util.find_spec(name) for name in _ACCELERATORS
  ):
    return False
  if sys.platform != "linux":
    return False
  libc = ctypes.CDLL(None)
  if not hasattr(libc, "gnu_get_libc_version"):
    return False
  return all([libc.mallopt(*option) for option in _OPTIONS.values()])
