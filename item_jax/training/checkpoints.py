"""Keeps a run's State on disk: saved whole or not at all, verified on the way
back.

Orbax writes each step into a folder that gets its name when it is complete.
A manifest with the SHA-256 of every file is added after that, because orbax
itself restores a flipped bit without a word. What has no manifest is not a
checkpoint.
"""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from item_jax.errors import UserError
from item_jax.files import (
  MANIFEST,
  DamagedError,
  check_manifest,
  read_sealed,
  write_bytes,
  write_manifest,
  write_sealed,
)
from item_jax.training import reading
from item_jax.training.agreement import as_first

_STATE = "default"  # orbax's name for what a step holds
_LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.deleted")
_DAMAGED = "damaged"  # folder of the workdir
_UNFINISHED = "unfinished"
_FIRST_SAYS = "process 0 says why"


class SaveError(RuntimeError):
  """A checkpoint that should be on disk is not there."""


class Checkpoints:
  """The checkpoints of one workdir; one writer at a time.

  The newest `keep` are kept, and beside them the best: the one that validation
  gave the largest value of the measure `best`; and step 0, because what a run
  was started from is never made again.

  In a run of many processes each has its own, and all methods but `steps`,
  `metrics`, `best_step` and `ended` are called by all of them at the same
  moment; process 0 decides whether a step is good, the others take its word.
  """

  def __init__(
    self,
    workdir: Path,
    *,
    keep: int = 3,
    best: str = "both/map@10",
    read_only: bool = False,
  ):
    self._keep = keep
    self._best = best
    self._first = jax.process_index() == 0
    self._read_only = read_only
    self.folder = Path(workdir).absolute() / "checkpoints"
    self._pool = ThreadPoolExecutor(thread_name_prefix="save")
    self._saves = 0
    self._pending: tuple[int, Future] | None = None
    if not read_only and self._first:
      self._make_folder()

  def steps(self) -> list[int]:
    """Those that were saved to the end, in order."""
    return [s for s in self._folders() if self._path(s, MANIFEST).is_file()]

  def metrics(self, step: int) -> dict[str, float] | None:
    """What validation measured at a step; None where it was not asked."""
    return read_sealed(self._path(step, MANIFEST)).get("metrics")

  def best_step(self) -> int | None:
    """The step that did best on validation; None before any evaluation."""
    scored = {}
    for step in self.steps():
      metrics = self.metrics(step) or {}
      if self._best in metrics:
        scored[step] = metrics[self._best]
    # Of equals the later one.
    return max(scored, key=lambda s: (scored[s], s)) if scored else None

  def save(self, step: int, state, *, metrics: dict | None = None) -> None:
    """Starts an asynchronous save; `wait` says whether it succeeded.

    Raises:
      SaveError: an earlier save failed, or this one cannot begin.
    """
    self.wait()
    problem = self._why_not(step) if self._first else ""
    if as_first(bool(problem)):
      raise SaveError(f"step {step} cannot be saved: {problem or _FIRST_SAYS}")
    self._saves += 1
    # One writer a save, with barriers of its own: what is left of a save that
    # failed in one process cannot disturb the next.
    writer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler(),
      multiprocessing_options=MultiprocessingOptions(
        barrier_sync_key_prefix=f"save{self._saves}"
      ),
    )
    begun = self._pool.submit(
      writer.save,
      self.folder / str(step),
      force=True,  # over what is there without a manifest
      args=ocp.args.Composite(**{_STATE: ocp.args.StandardSave(state)}),
    )
    # In a thread, so that any error is kept, whatever its type.
    if begun.exception() is None:
      begun = self._pool.submit(self._finish, writer, step, metrics)
    self._pending = (step, begun)

  def ended(self) -> bool:
    """Whether a save has come to its end, good or bad, and `wait` was not
    called since."""
    return self._pending is not None and self._pending[1].done()

  def wait(self) -> None:
    """Returns when what was saved is on disk, with its manifest.

    Raises:
      SaveError: it is not; the same in every process.
    """
    if self._pending is None:
      return
    (step, future), self._pending = self._pending, None
    error = future.exception() if self._first else None
    if as_first(error is not None):
      if self._first:
        shutil.rmtree(self.folder / str(step), ignore_errors=True)
        self._clear()
      raise SaveError(
        f"step {step} was not saved to {self.folder}:"
        f" {_one_line(error) or _FIRST_SAYS}"
      ) from error
    future.exception()

  def close(self) -> None:
    """Waits for a save under way; its error is not raised any more."""
    if self._pending is not None:
      self._pending[1].exception()
    self._pool.shutdown(wait=False)

  def rank(self, step: int, metrics: dict[str, float]) -> None:
    """Adds what validation measured to a step that was saved without."""
    path = self._path(step, MANIFEST)
    if self._first:
      write_sealed(path, {**read_sealed(path), "metrics": metrics})

  def restore(self, step: int, like):
    """The State of `step`, verified, laid out as the arrays `like`.

    Args:
      like: a tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      DamagedError: a file differs from the manifest.
      UserError: paths, shapes or dtypes differ from `like`.
    """
    self.verify(step)
    return reading.read(self._path(step, _STATE), like)

  def restore_params(self, step: int, like):
    """The parameters of `step` alone, verified, as arrays on this host.

    Args:
      like: a tree of `jax.ShapeDtypeStruct`.

    Raises:
      As `restore`.
    """
    self.verify(step)
    return reading.read_part(self._path(step, _STATE), "params", like)

  def verify(self, step: int) -> None:
    """Compares every file of a step with its manifest.

    Raises:
      DamagedError: naming the first file that differs.
    """
    error = None
    if self._first or self._read_only:
      try:
        check_manifest(self.folder / str(step))
      except DamagedError as found:
        error = found
    bad = error is not None
    if bad if self._read_only else as_first(bad):
      raise error or DamagedError(f"{self.folder / str(step)}: {_FIRST_SAYS}")

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
    while (step := as_first(max(self._folders(), default=-1))) >= 0:
      try:
        self.verify(step)
      except DamagedError as error:
        if self._first:
          print(f"checkpoint {step} is passed over: {error}", flush=True)
          sealed = self._path(step, MANIFEST).exists()
          self._set_aside(step, unfinished=newest and not sealed)
        newest = False
      else:
        return step
    damaged = self.folder.with_name(_DAMAGED)
    lost = any(_UNFINISHED not in p.name for p in damaged.glob("*"))
    if as_first(lost):
      raise UserError(
        f"no good checkpoint is left in {self.folder}; the damaged ones are in"
        f" {damaged}. To start anew, delete {damaged} or give another --workdir"
      )
    return None

  def _path(self, step: int, name: str) -> Path:
    return self.folder / str(step) / name

  def _folders(self) -> list[int]:
    """Steps that have a folder, sealed or not, in order."""
    names = [p.name for p in self.folder.glob("*")]
    return sorted(int(name) for name in names if name.isdigit())

  def _make_folder(self) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    self._clear()

  def _clear(self) -> None:
    """Deletes what killed and failed saves left."""
    for pattern in _LEFTOVERS:
      for path in self.folder.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)

  def _why_not(self, step: int) -> str:
    """What keeps a save from beginning; "" where nothing does."""
    newest = max(self.steps(), default=-1)
    if step <= newest:
      return f"{self.folder} holds step {newest}"
    probe = self.folder / "probe"
    try:
      self._make_folder()
      write_bytes(probe, bytes(4096))
      probe.unlink()
    except OSError as error:
      return str(error)
    return ""

  def _finish(self, writer, step: int, metrics: dict | None) -> None:
    """Sees a save to its end, in a thread: hashing takes seconds."""
    writer.wait_until_finished()
    writer.close()
    if self._first:
      folder = self.folder / str(step)
      if not folder.is_dir():
        raise SaveError(f"{folder} is not there")
      write_manifest(folder, metrics=metrics)
      self._forget()

  def _forget(self) -> None:
    """Deletes what need not be kept, once there is something newer."""
    steps = self.steps()
    try:
      keep = {0, *steps[-self._keep :], self.best_step()}
    except DamagedError as error:
      print(f"no checkpoint is deleted: {error}", flush=True)
      return
    for step in set(steps) - keep:
      doomed = self._path(step, "").with_suffix(".deleted")
      try:
        self._path(step, "").rename(doomed)
      except OSError as error:
        print(f"checkpoint {step} could not be deleted: {error}", flush=True)
      shutil.rmtree(doomed, ignore_errors=True)

  def _set_aside(self, step: int, *, unfinished: bool) -> None:
    damaged = self.folder.with_name(_DAMAGED)
    damaged.mkdir(exist_ok=True)
    number = len(list(damaged.iterdir()))
    kind = f".{_UNFINISHED}" if unfinished else ""
    self._path(step, "").rename(damaged / f"{step}{kind}.{number}")


def _one_line(error: BaseException | None) -> str:
  return " ".join(str(error).split())[:500] if error else ""
