"""Checks a run's options, its room on disk, and that checkpoints work there."""

import copy
import os
import platform
import resource
import shutil
import time
import zlib
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from item_jax import tasks
from item_jax.config import Config
from item_jax.config_check import validate
from item_jax.diagnostics import plan
from item_jax.diagnostics.doctor import BAD, GIB, OK, WARN, Finding
from item_jax.distributed.cluster import first_line
from item_jax.errors import UserError
from item_jax.training import sharding
from item_jax.training.checkpoints import Checkpoints, SaveError

_FILES = 1_024  # open at once: shards, pipes of workers, sockets of hosts
_FEW_FILES = 256
_ROOM = GIB  # expected where no config says what is needed


def options(config: Config) -> Finding:
  """Checks whether a run could begin with these options on these devices."""
  config = copy.deepcopy(config)
  config.data.path = config.data.path or "any"  # it may be given later
  devices = jax.device_count()
  try:
    validate(config, devices=devices)
    plan.checkpoint_bytes(config, 1_000)  # the objectives agree as well
  except UserError as error:
    return Finding(BAD, "config", str(error))
  return Finding(OK, "config", f"task {config.task}, {devices} devices")


def needs(config: Config, vocab_size: int) -> tuple[int, int]:
  """Returns the bytes (on disk, in shared memory) that a run needs.

  On disk for checkpoints: the newest, the best, step 0's and the one being
  written; in shared memory for batches of all processes of this host.
  """
  kept = config.checkpoint.keep + 3
  row = sum(x.nbytes for x in tasks.step_batch(config))
  rows = config.batch_size // jax.process_count() * processes_here()
  batches = config.data.workers * (config.data.prefetch + 1)
  return kept * plan.checkpoint_bytes(config, vocab_size), batches * rows * row


def processes_here() -> int:
  """Counts the run's processes that share this host, and its memory."""
  if jax.process_count() == 1:
    return 1
  mine = np.uint32(zlib.crc32(platform.node().encode()))
  return int((multihost_utils.process_allgather(mine) == mine).sum())


def checkpoint(workdir: Path) -> Finding:
  """Saves and restores a checkpoint in the workdir's file system."""
  parent = nearest(workdir)
  mesh = sharding.make_mesh(jax.device_count(), 1)
  place = sharding.replicated(mesh)
  x = np.random.default_rng(0).normal(size=2**18).astype(np.float32)
  state = {
    "x": jax.make_array_from_callback(x.shape, place, lambda index: x[index])
  }
  like = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), state
  )
  # All processes use process 0's name for it.
  number = np.int32(os.getpid())
  if jax.process_count() > 1:
    number = multihost_utils.broadcast_one_to_all(number)
  folder = parent / f".doctor-{int(number)}"
  begin = time.perf_counter()
  try:
    why = _make_for_all(folder)
    if why:
      return Finding(BAD, "checkpoint", f"{parent}: {why}")
    checkpoints = Checkpoints(folder)
    try:
      checkpoints.save(1, state)
      checkpoints.wait()
      back = np.asarray(checkpoints.restore(1, like)["x"])
    finally:
      checkpoints.close()
  except (OSError, SaveError, UserError) as error:
    return Finding(BAD, "checkpoint", f"{parent}: {first_line(error)}")
  finally:
    if jax.process_index() == 0:
      shutil.rmtree(folder, ignore_errors=True)
  if not np.array_equal(back, x):
    return Finding(BAD, "checkpoint", f"{parent}: other values came back")
  seconds = time.perf_counter() - begin
  return Finding(
    OK, "checkpoint", f"saved, verified and restored in {seconds:.1f} s"
  )


def _make_for_all(folder: Path) -> str:
  """Makes a folder that all processes must see; returns "" or why not."""
  why = ""
  if jax.process_index() == 0:
    try:
      folder.mkdir()
    except OSError as error:
      why = first_line(error)
  if jax.process_count() == 1:
    return why
  multihost_utils.sync_global_devices("folder")
  if not why and not os.access(folder, os.W_OK):
    why = "what process 0 makes is not seen here, or not to be written to"
  well = multihost_utils.process_allgather(np.int32(not why))
  if not why and not well.all():
    why = f"process {int(well.argmin())} does not see it, or cannot write to it"
  return why


def nearest(folder: Path) -> Path:
  """The folder, or the nearest parent that exists."""
  folder = Path(folder).absolute()
  while not folder.exists():
    folder = folder.parent
  return folder


def disk(workdir: Path, needed: int | None) -> Finding:
  """Checks the room for checkpoints, in bytes as of `needs`."""
  return _room("disk", nearest(workdir), needed)


def shared_memory(
  needed: int | None, folder: Path = Path("/dev/shm")
) -> Finding:
  """Checks the room for the batches that worker processes hand over."""
  if not folder.is_dir():
    return Finding(OK, "shared memory", f"no {folder} here")
  return _room("shared memory", folder, needed)


def _room(what: str, folder: Path, needed: int | None) -> Finding:
  free = shutil.disk_usage(folder).free
  text = f"{free / GIB:.1f} GiB free in {folder}"
  if needed is None:
    return Finding(WARN if free < _ROOM else OK, what, text)
  level = BAD if free < needed else OK
  return Finding(level, what, f"{text}, {needed / GIB:.3f} GiB needed")


def open_files() -> Finding:
  """Checks how many files this process may have open."""
  soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if soft == resource.RLIM_INFINITY:
    return Finding(OK, "open files", "no limit")
  level = BAD if soft < _FEW_FILES else WARN if soft < _FILES else OK
  text = f"at most {soft:,} at once"
  return Finding(
    level, "open files", text if level == OK else f"{text}: ulimit -n {_FILES}"
  )
