"""Keeps a run's State on disk: saved whole or not at all, verified on the way
back.

Orbax writes each step into a folder that gets its name when it is complete.
A manifest with the SHA-256 of every file is added after that, because orbax
itself restores a flipped bit without a word.
"""

import json
import math
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from item_jax.errors import UserError
from item_jax.files import (
  MANIFEST,
  DamagedError,
  check_manifest,
  write_manifest,
)


class SaveError(RuntimeError):
  """A checkpoint that should be on disk is not there."""


class Checkpoints:
  """The checkpoints of one workdir; one writer at a time.

  The newest `keep` are kept, and beside them the best: the one that validation
  gave the largest value of the measure `best`.
  """

  def __init__(
    self,
    workdir: Path,
    *,
    keep: int = 3,
    best: str = "both/map@10",
    read_only: bool = False,
  ):
    self._best = best
    self._read_only = read_only
    self.folder = Path(workdir).absolute() / "checkpoints"
    self._unsealed = False
    self._manager = ocp.CheckpointManager(
      self.folder,
      item_handlers=ocp.StandardCheckpointHandler(),
      options=ocp.CheckpointManagerOptions(
        create=not read_only,
        read_only=read_only,
        cleanup_tmp_directories=not read_only,
        best_fn=self._rank,
        preservation_policy=preservation_policy.AnyPreservationPolicy(
          [
            preservation_policy.LatestN(keep),
            # What a run was started from is never made again.
            preservation_policy.CustomSteps([0]),
            preservation_policy.BestN(
              get_metric_fn=self._rank,
              n=1,
              keep_checkpoints_without_metrics=False,
            ),
          ]
        ),
      ),
    )

  def steps(self) -> list[int]:
    self._manager.reload()
    return sorted(self._manager.all_steps())

  def best_step(self) -> int | None:
    """The step that did best on validation; None before any evaluation."""
    scored = {}
    for step in self.steps():
      metrics = self.folder / str(step) / "metrics" / "metrics"
      if metrics.is_file():
        found = json.loads(metrics.read_text())
        if self._best in found:
          scored[step] = found[self._best]
    # Of equals the later one.
    return max(scored, key=lambda s: (scored[s], s)) if scored else None

  def save(self, step: int, state, *, metrics: dict | None = None) -> None:
    """Starts an asynchronous save; errors of an earlier one come up here."""
    self._manager.wait_until_finished()
    self.seal()
    newest = self._manager.latest_step()
    if newest is not None and step <= newest:
      raise SaveError(
        f"step {step} is not saved over step {newest} in {self.folder}"
      )
    saved = self._manager.save(
      step, args=ocp.args.StandardSave(state), metrics=metrics, force=True
    )
    if not saved:
      raise SaveError(
        f"step {step} was not saved to {self.folder}; it holds steps"
        f" {self.steps()}"
      )
    self._unsealed = True

  def seal(self) -> None:
    """Writes the manifest of a save that has come to its end, if there is one.

    To be called now and then between saves: it costs nothing while there is
    nothing to do. (Orbax's own callback comes before the folder is complete.)
    """
    if self._unsealed and not self._manager.is_saving_in_progress():
      self._write_manifests()
      self._unsealed = False

  def wait(self) -> None:
    """Returns when all saves are on disk, or raises their error."""
    self._manager.wait_until_finished()
    self._manager.check_for_errors()
    self.seal()

  def close(self) -> None:
    self._manager.close()

  def restore(self, step: int, like):
    """The State of `step`, verified, laid out as the arrays `like`.

    Args:
      like: a tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      DamagedError: a file differs from the manifest.
      UserError: paths, shapes or dtypes differ from `like`.
    """
    self.verify(step)
    found = _signature(self._manager.item_metadata(step))
    self._check_fits(step, found, _signature(like))
    return self._manager.restore(step, args=ocp.args.StandardRestore(like))

  def restore_params(self, step: int, like):
    """The parameters of `step` alone, verified, as arrays on this host.

    Args:
      like: a tree of `jax.ShapeDtypeStruct`.

    Raises:
      As `restore`.
    """
    self.verify(step)
    folder = self.folder / str(step) / "default"
    with ocp.PyTreeCheckpointer() as reader:
      found = _signature(reader.metadata(folder).item_metadata.tree["params"])
      self._check_fits(step, found, _signature(like))
      restored = reader.restore(
        folder,
        args=ocp.args.PyTreeRestore(
          item={"params": like},
          restore_args={
            "params": jax.tree.map(
              lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like
            )
          },
          partial_restore=True,
        ),
      )
    return restored["params"]

  def _check_fits(self, step: int, found: dict, wanted: dict) -> None:
    if found != wanted:
      odd = sorted(set(found.items()) ^ set(wanted.items()))
      raise UserError(
        f"checkpoint {self.folder / str(step)} does not fit this model;"
        f" differing leaves, of both sides: {odd[:8]}"
      )

  def verify(self, step: int) -> None:
    """Compares every file of a step with its manifest.

    A step that was committed just before a kill may have none yet; then its
    completeness rests on orbax's rename, and the manifest is written now.
    """
    folder = self.folder / str(step)
    path = folder / MANIFEST
    if not path.exists():
      if not self._read_only:
        self._write_manifests()
      return
    check_manifest(folder)

  def newest_good(self) -> int | None:
    """The newest step that verifies.

    Damaged ones are named and moved to `damaged` in the workdir, so that the
    steps can be taken and saved again.
    """
    for step in reversed(self.steps()):
      try:
        self.verify(step)
      except DamagedError as error:
        print(f"checkpoint {step} is passed over: {error}", flush=True)
        self._set_aside(step)
      else:
        return step
    return None

  def _rank(self, metrics: dict) -> float:
    return metrics.get(self._best, -math.inf)

  def _set_aside(self, step: int) -> None:
    if jax.process_index() == 0:
      damaged = self.folder.with_name("damaged")
      damaged.mkdir(exist_ok=True)
      number = len(list(damaged.iterdir()))
      (self.folder / str(step)).rename(damaged / f"{step}.{number}")
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"set aside {step}")
    self._manager.reload()

  def _write_manifests(self) -> None:
    if jax.process_index() != 0:
      return
    for folder in self.folder.iterdir():
      if folder.name.isdigit() and not (folder / MANIFEST).exists():
        write_manifest(folder)


def _signature(tree) -> dict[str, tuple]:
  """{path: (shape, dtype)} with path spelled alike for every container."""

  def spell(key) -> str:
    for name in ("key", "name", "idx"):
      if hasattr(key, name):
        return str(getattr(key, name))
    return str(key)

  leaves = jax.tree_util.tree_leaves_with_path(
    tree, is_leaf=lambda x: hasattr(x, "shape") and hasattr(x, "dtype")
  )
  return {
    "/".join(spell(k) for k in path): (tuple(x.shape), str(x.dtype))
    for path, x in leaves
  }
