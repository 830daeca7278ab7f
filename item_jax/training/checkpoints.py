"""Keeps a run's State on disk: saved whole or not at all, verified on the way
back.

Orbax writes each step into a folder that gets its name when it is complete.
A manifest with the SHA-256 of every file is added after that, because orbax
itself restores a flipped bit without a word. What has no manifest is not a
checkpoint.
"""

import shutil
from concurrent import futures
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.options import AsyncOptions, MultiprocessingOptions

from item_jax.distributed.collectives import Meeting, as_first, one_line
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

_STATE = "default"  # orbax's name for what a step holds
_FIRST_SAYS = "process 0 says why"
_STRAGGLERS = 60  # s for other processes to end a save that failed in one


class SaveError(RuntimeError):
  """A checkpoint that should be on disk is not there."""


class Checkpoints(Steps):
  """The checkpoints of one workdir; one writer at a time.

  In a run of many processes each has its own, and all methods but `ended` and
  those of `Steps` are called by all of them at the same moment; process 0
  decides whether a step is good, the others take its word.
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
    """`mirror`: where steps are copied to; there until then, none is saved."""
    super().__init__(workdir, keep=keep, best=best)
    self._first = jax.process_index() == 0
    self._read_only = read_only
    self._mirror = mirror
    self._pool = futures.ThreadPoolExecutor(thread_name_prefix="save")
    self._meetings: list[Meeting] = []  # one a save
    self._pending: tuple[int, futures.Future] | None = None
    if not read_only and self._first:
      self.make_folder()

  def save(self, step: int, state, *, metrics: dict | None = None) -> None:
    """Starts an asynchronous save; `wait` says whether it succeeded.

    Raises:
      SaveError: an earlier save failed, or this one cannot begin.
    """
    self.wait()
    problem = self._why_not(step) if self._first else ""
    if as_first(bool(problem)):
      raise SaveError(f"step {step} cannot be saved: {problem or _FIRST_SAYS}")
    # One writer a save, with barriers of its own: what is left of a save that
    # failed in one process cannot disturb the next.
    name = f"save{len(self._meetings)}"
    meeting = Meeting(name)
    self._meetings.append(meeting)
    if len(self._meetings) > 2:  # nobody waits for the save before last
      self._meetings[-3].forget()
    writer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(),
      async_options=AsyncOptions(barrier_sync_fn=meeting.wait),
      multiprocessing_options=MultiprocessingOptions(
        barrier_sync_key_prefix=name
      ),
    )
    begun = self._pool.submit(
      writer.save,
      self.folder / str(step),
      force=True,  # `_why_not` has looked; the others need not
      args=ocp.args.Composite(**{_STATE: ocp.args.StandardSave(state)}),
    )
    # In a thread, so that any error is kept, whatever its type.
    if begun.exception() is None:
      begun = self._pool.submit(self._finish, writer, step, metrics)
    begun.add_done_callback(meeting.end)
    self._pending = (step, begun)

  def ended(self) -> bool:
    """Whether a save has come to its end, good or bad, and `wait` was not
    called since."""
    return self._pending is not None and self._pending[1].done()

  def wait(self) -> None:
    """Returns when what was saved is on disk, with its manifest.

    Raises:
      SaveError: it is not; the same in every process.
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
      futures.wait([future], timeout=_STRAGGLERS)
      as_first(0)
      if self._first:
        shutil.rmtree(self.path(step), ignore_errors=True)
        self.clear()
      raise SaveError(
        f"step {step} was not saved to {self.folder}:"
        f" {one_line(error) if error else _FIRST_SAYS}"
      ) from error
    future.exception()

  def close(self) -> None:
    """Waits for a save under way; its error is not raised any more."""
    if self._pending is not None:
      self._pending[1].exception()
    self._pool.shutdown(wait=False)

  def rank(self, step: int, metrics: dict[str, float]) -> None:
    """Adds what validation measured to a step that was saved without."""
    path = self.path(step, MANIFEST)
    if self._first:
      write_checksummed(path, {**read_checksummed(path), "metrics": metrics})
      if self._mirror:
        self._mirror.send()

  def restore(self, step: int, like):
    """The State of `step`, verified, laid out as the arrays `like`.

    Args:
      like: a tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      CorruptError: a file differs from the manifest.
      UserError: paths, shapes or dtypes differ from `like`.
    """
    self.verify(step)
    return orbax_read.read(self.path(step, _STATE), like)

  def restore_params(self, step: int, like):
    """The parameters of `step` alone, verified, as arrays on this host.

    Args:
      like: a tree of `jax.ShapeDtypeStruct`.

    Raises:
      As `restore`.
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
    bad = error is not None
    if bad if self._read_only else as_first(bad):
      raise error or CorruptError(f"{self.path(step)}: {_FIRST_SAYS}")

  def newest_good(self) -> int | None:
    """The newest step that verifies; None where there never was one.

    Damaged ones are named and moved to `damaged` in the workdir, so that the
    steps can be taken and saved again.

    Raises:
      UserError: only damaged ones are left.
    """
    # The saves of a run follow each other: only the newest can be without a
    # manifest because the run was killed before it had one.
    newest = True
    while (step := as_first(max(self.begun(), default=-1))) >= 0:
      try:
        self.verify(step)
      except CorruptError as error:
        if self._first:
          print(f"checkpoint {step} is passed over: {error}", flush=True)
          sealed = self.path(step, MANIFEST).exists()
          self.set_aside(step, unfinished=newest and not sealed)
        newest = False
      else:
        return step
    if as_first(self.lost()):
      raise UserError(
        f"no good checkpoint is left in {self.folder}; the damaged ones are in"
        f" {self.damaged}. To start anew, delete {self.damaged} or give another"
        " --workdir"
      )
    return None

  def _why_not(self, step: int) -> str:
    """What keeps a save from beginning; "" where nothing does."""
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
    """Sees a save to its end, in a thread: hashing takes seconds."""
    writer.wait_until_finished()
    writer.close()
    if self._first:
      folder = self.path(step)
      if not folder.is_dir():
        raise SaveError(f"{folder} is not there")
      write_manifest(folder, metrics=metrics)
      if self._mirror:
        self._mirror.send()
      self.forget()
