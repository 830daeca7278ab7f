"""Keeps compiled programs from one start of a command to the next.

jax's persistent compilation cache does the work; its key is the program, the
compiler's version and options, and the kind of device.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import time
from pathlib import Path

from item_jax.object_store.copies import cache_folder
from item_jax.workers import count_cores

_PREFIX = "jaxlib-"  # of the names of folders
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_LIMIT = 2 << 30  # bytes; beyond it the least recently used programs go
_UNUSED = 90 * 86_400  # s after which another machine's or jaxlib's go
_LEAST = 0.2  # seconds of compiling from which on a program is kept


def prepare_model() -> None:
  """Does what a command that opens a checkpoint needs; before jax is imported.

  Programs are kept, and Orbax does not warn of metrics and metadata that are
  absent on purpose.
  """
  from absl import logging

  keep_programs()
  logging.set_verbosity(logging.ERROR)


def keep_programs() -> None:
  """Points jax to a cache in the user's cache folder; before jax is imported.

  Who has set JAX_COMPILATION_CACHE_DIR, or turned the cache off, is left
  alone. Where the folder cannot be made, nothing is kept.
  """
  if "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
    return
  folder = _folder()
  given = os.environ.get(_FOLDER)  # in ours by a command that started this one
  if given is not None and Path(given).parent != folder.parent:
    return
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return
  if not os.access(folder, os.W_OK):
    return
  _forget_unused(folder)
  os.environ[_FOLDER] = str(folder)
  os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_LIMIT))
  os.environ.setdefault(
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(_LEAST)
  )


def _forget_unused(folder: Path) -> None:
  """Deletes the folders beside this one that nobody has started with lately."""
  os.utime(folder)
  for other in folder.parent.glob(f"{_PREFIX}*"):
    try:
      unused = time.time() - other.stat().st_mtime > _UNUSED
    except FileNotFoundError:  # another process deletes it, too
      continue
    if unused:
      shutil.rmtree(other, ignore_errors=True)


def run_programs() -> Path | None:
  """The folder where a run's programs are kept; None where jax's are not kept
  in ours."""
  ours = _folder()
  return ours / "runs" if os.environ.get(_FOLDER) == str(ours) else None


def _folder() -> Path:
  return cache_folder() / "programs" / _machine()


def _machine() -> str:
  """Names the CPU's instructions and how many cores this process may use.

  A home may be shared by several machines, and what was compiled for one need
  not run on another. What was compiled for one core stays on it elsewhere, and
  jax does not tell the two apart (findings/jax_cache_cores.sh).
  """
  features = f"{platform.machine()} {count_cores()}"
  cpuinfo = Path("/proc/cpuinfo")
  if cpuinfo.is_file():
    lines = cpuinfo.read_text(errors="replace").splitlines()
    features += "".join(
      next((line for line in lines if line.startswith(name)), "")
      for name in ("model name", "flags", "Features", "CPU part")
    )
  digest = hashlib.sha256(features.encode()).hexdigest()[:12]
  return f"{_PREFIX}{importlib.metadata.version('jaxlib')}-{digest}"
