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

from item_jax.distributed import private_apis

# Of glibc's malloc.h, and what they are set to: one heap for all threads, no
# block outside of it, and its end is not given back.
_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = (-8, 1), (-4, 0), (-1, -1)
_OPTIONS = (_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD)
_ACCELERATORS = ("jax_plugins", "libtpu")  # what makes jax compute elsewhere
_GIVEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed() -> bool:
  """Keeps what is freed from here on; says whether it can.

  Nothing is done where jax has started its threads, which go on as they did;
  where the user has chosen an allocator or its options; without glibc; or where
  jax may find an accelerator.
  """
  if private_apis.jax_computes():
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
  return all([libc.mallopt(*option) for option in _OPTIONS])
