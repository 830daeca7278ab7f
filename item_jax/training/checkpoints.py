"""Saves a run's State, completely or not at all, and verifies it on reading.

Orbax writes each step into a folder that gets its name when it is complete.
A manifest with the SHA-256 of every file is added after that, because orbax
itself restores a flipped bit without a warning. A step without a manifest is
not a checkpoint.
"""

import logging
import shutil
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.options import AsyncOptions, MultiprocessingOptions

from item_jax.distributed.collectives import (
  FailingBarrier,
  as_first,
  one_line,
)
from item_jax.errors import UserError
from item_jax.files import (
  MANIFEST,
  CorruptError,
  check_manifest,
  read_checksummed,
  write_bytes,
  write_checksummed,
  write_manifest,
)
from item_jax.training import orbax_read
from item_jax.training.checkpoint_dir import Steps
from item_jax.training.mirror import Mirror, TakenOverError

logger = logging.getLogger(__name__)

_STATE = "default"  # orbax's name for what a step holds
_SEE_FIRST = "process 0 says why"
_DRAIN_SECONDS = 60  # for other processes to end a save that failed in one


class SaveError(RuntimeError):
  """A checkpoint that should be on disk is not there."""


class Checkpoints(Steps):
  """The checkpoints of one workdir; one writer at a time.

  In a run of many processes each has its own, and all of them call all methods
  but `ended` and those of `Steps` at the same moment; process 0 decides
  whether a step is good, and the others follow it.
  """

  def __init__(
    self,
    workdir: Path,
    *,
    keep: int = 3,
    best: str = "both/map@10",
    read_only: bool = False,
    mirror: Mirror | None = None,
  ):
    """Opens the checkpoints of a workdir.

    Args:
      keep: how many of the newest are kept.
      best: what the best one is ranked by.
      read_only: nothing is created or deleted.
      mirror: where steps are copied to; only then do they count as saved.
    """
    super().__init__(workdir, keep=keep, best=best)
    self._first = jax.process_index() == 0
    self._read_only = read_only
    self._mirror = mirror
    self._pool = futures.ThreadPoolExecutor(thread_name_prefix="save")
    self._barriers: list[FailingBarrier] = []  # one for each save
    self._pending: tuple[int, futures.Future] | None = None
    if not read_only and self._first:
      self.make_folder()

  def save(self, step: int, state: Any, *, metrics: dict | None = None) -> None:
    """Starts an asynchronous save; `wait` raises if it failed.

    Raises:
      SaveError: an earlier save failed, or this one cannot begin.
    """
    self.wait()
    problem = self._why_not(step) if self._first else ""
    if as_first(bool(problem)):
      raise SaveError(f"step {step} cannot be saved: {problem or _SEE_FIRST}")
    # Each save has a writer and barriers of its own: what is left of a save
    # that failed in one process cannot disturb the next.
    name = f"save{len(self._barriers)}"
    barrier = FailingBarrier(name)
    self._barriers.append(barrier)
    if len(self._barriers) > 2:  # nobody waits for the save before last
      self._barriers[-3].delete()
    writer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(),
      async_options=AsyncOptions(barrier_sync_fn=barrier.wait),
      multiprocessing_options=MultiprocessingOptions(
        barrier_sync_key_prefix=name
      ),
    )
    begun = self._pool.submit(
      writer.save,
      self.folder / str(step),
      force=True,  # `_why_not` has checked; the others need not
      args=ocp.args.Composite(
        **{_STATE: ocp.args.StandardSave(orbax_read.to_saved(state))}
      ),
    )
    # In a thread, so that any error is kept, whatever its type.
    if begun.exception() is None:
      begun = self._pool.submit(self._finish, writer, step, metrics)
    begun.add_done_callback(barrier.report)
    self._pending = (step, begun)

  def ended(self) -> bool:
    """Whether a save has ended, and `wait` was not called since."""
    return self._pending is not None and self._pending[1].done()

  def wait(self) -> None:
    """Returns when the last save is on disk, with its manifest.

    Raises:
      SaveError: it failed; the same in every process.
      TakenOverError: the workdir, on an object store, is another run's now.
    """
    if self._pending is None:
      return
    (step, future), self._pending = self._pending, None
    error = future.exception() if self._first else None
    if isinstance(error, TakenOverError):
      raise error
    if as_first(error is not None):
      # Where it went well until then, it may still be being written.
      futures.wait([future], timeout=_DRAIN_SECONDS)
      as_first(0)
      if self._first:
        shutil.rmtree(self.path(step), ignore_errors=True)
        self.clear()
      raise SaveError(
        f"step {step} was not saved to {self.folder}:"
        f" {one_line(error) if error else _SEE_FIRST}"
      ) from error
    future.exception()

  def close(self) -> None:
    """Waits for a save under way; ignores its error."""
    if self._pending is not None:
      self._pending[1].exception()
    self._pool.shutdown(wait=False)

  def rank(self, step: int, metrics: dict[str, float]) -> None:
    """Adds what validation measured to a step that was saved before."""
    path = self.path(step, MANIFEST)
    if self._first:
      write_checksummed(path, {**read_checksummed(path), "metrics": metrics})
      if self._mirror:
        self._mirror.send()

  def restore(self, step: int, like: Any) -> Any:
    """Reads the State of `step`, verified, laid out as the arrays `like`.

    Args:
      like: a tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      CorruptError: a file differs from the manifest.
      UserError: paths, shapes or dtypes differ from `like`.
    """
    self.verify(step)
    return orbax_read.read(self.path(step, _STATE), like)

  def restore_params(self, step: int, like: Any) -> Any:
    """Reads only the parameters of `step`, verified, to arrays on this host.

    Args:
      like: a tree of `jax.ShapeDtypeStruct`.

    Raises:
      CorruptError, UserError: as `restore`.
    """
    self.verify(step)
    return orbax_read.read_part(self.path(step, _STATE), "params", like)

  def verify(self, step: int) -> None:
    """Compares every file of a step with its manifest.

    Raises:
      CorruptError: naming the first file that differs.
    """
    error = None
    if self._first or self._read_only:
      try:
        check_manifest(self.path(step))
      except CorruptError as found:
        error = found
    corrupt = error is not None
    if corrupt if self._read_only else as_first(corrupt):
      raise error or CorruptError(f"{self.path(step)}: {_SEE_FIRST}")

  def newest_good(self) -> int | None:
    """The newest step that verifies; None where there never was one.

    Corrupt ones are named and moved to the quarantine folder of the workdir,
    so that these steps can be computed and saved again. Of older ones only the
    manifest is read.

    Raises:
      UserError: only corrupt ones are left.
    """
    # The saves of a run follow each other: only the newest can be without a
    # manifest because the run was killed before it had one.
    newest = True
    while (step := as_first(max(self.begun(), default=-1))) >= 0:
      try:
        self.verify(step)
      except CorruptError as error:
        if self._first:
          logger.info(f"checkpoint {step} is passed over: {error}")
          complete = self.path(step, MANIFEST).exists()
          self.quarantine(step, unfinished=newest and not complete)
        newest = False
      else:
        if self._first:
          self.set_aside_unranked()
        return step
    if as_first(self.quarantined()):
      folder = self.quarantine_folder
      raise UserError(
        f"no good checkpoint is left in {self.folder}; the corrupt ones are in"
        f" {folder}. To start anew, delete {folder} or give another --workdir"
      )
    return None

  def _why_not(self, step: int) -> str:
    """Why a save cannot begin; "" where it can."""
    newest = max(self.steps(), default=-1)
    if step <= newest:
      return f"{self.folder} holds step {newest}"
    probe = self.folder / "probe"
    try:
      self.make_folder()
      write_bytes(probe, bytes(4096))
      probe.unlink()
      if self.path(step).exists():  # without a manifest
        shutil.rmtree(self.path(step))
    except OSError as error:
      return str(error)
    return ""

  def _finish(self, writer, step: int, metrics: dict | None) -> None:
    """Completes a save, in a thread: hashing takes seconds."""
    writer.wait_until_finished()
    writer.close()
    if self._first:
      folder = self.path(step)
      if not folder.is_dir():
        raise SaveError(f"{folder} is not there")
      write_manifest(folder, metrics=metrics)
      if self._mirror:
        self._mirror.send()
      self.delete_old()
