"""The steps that lie in a folder of checkpoints: which were saved to the end,
what they scored, and which of them are kept.

A step that has no manifest is not a checkpoint: its save was cut off.
"""

import math
import shutil
from pathlib import Path

from item_jax.files import MANIFEST, CorruptError, read_checksummed

_LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.deleted")
_DAMAGED = "damaged"  # folder of the workdir
_UNFINISHED = "unfinished"


class Steps:
  """What is on disk, as one process sees it.

  The newest `keep` are kept, and beside them the best: the one that validation
  gave the largest value of the measure `best`; and step 0, because what a run
  was started from is never made again.
  """

  def __init__(self, workdir: Path, *, keep: int, best: str):
    self._keep = keep
    self._best = best
    self.folder = Path(workdir).absolute() / "checkpoints"
    self.damaged = self.folder.with_name(_DAMAGED)

  def steps(self) -> list[int]:
    """Those that were saved to the end, in order."""
    return [s for s in self.begun() if self.path(s, MANIFEST).is_file()]

  def begun(self) -> list[int]:
    """Those that have a folder, saved to the end or not, in order."""
    names = [p.name for p in self.folder.glob("*")]
    return sorted(int(name) for name in names if name.isdigit())

  def path(self, step: int, name: str = "") -> Path:
    return self.folder / str(step) / name

  def metrics(self, step: int) -> dict[str, float] | None:
    """What validation measured at a step; None where it was not asked."""
    return read_checksummed(self.path(step, MANIFEST)).get("metrics")

  def best_step(self) -> int | None:
    """The step that did best on validation; None before any evaluation."""
    scored = {}
    for step in self.steps():
      score = (self.metrics(step) or {}).get(self._best, math.nan)
      # NaN is no score: beside it every number is neither more nor less.
      if not math.isnan(score):
        scored[step] = score
    # Of equals the later one.
    return max(scored, key=lambda s: (scored[s], s)) if scored else None

  def make_folder(self) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    self.clear()

  def clear(self) -> None:
    """Deletes what killed and failed saves left."""
    for pattern in _LEFTOVERS:
      for path in self.folder.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)

  def forget(self) -> None:
    """Deletes what need not be kept, once there is something newer."""
    try:
      steps = self.steps()
      keep = {0, *steps[-self._keep :], self.best_step()}
      for step in set(steps) - keep:
        doomed = self.path(step).with_suffix(".deleted")
        self.path(step).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    except (CorruptError, OSError) as error:
      print(f"a checkpoint could not be deleted: {error}", flush=True)

  def set_aside(self, step: int, *, unfinished: bool) -> None:
    """Moves a damaged step out of the way, so that it can be saved again.

    Of saves that were cut off the latest is kept: there may be one at every
    kill.
    """
    self.damaged.mkdir(exist_ok=True)
    if unfinished:
      for before in self.damaged.glob(f"*.{_UNFINISHED}.*"):
        shutil.rmtree(before, ignore_errors=True)
    number = len(list(self.damaged.iterdir()))
    kind = f".{_UNFINISHED}" if unfinished else ""
    self.path(step).rename(self.damaged / f"{step}{kind}.{number}")

  def lost(self) -> bool:
    """Whether a step that was saved to the end was set aside."""
    return any(_UNFINISHED not in p.name for p in self.damaged.glob("*"))
