"""Lists the checkpoints in a folder, ranks them and deletes old ones.

A step without a manifest is not a checkpoint: its save was cut off.
"""

import logging
import math
import shutil
from pathlib import Path

from item_jax.files import MANIFEST, CorruptError, read_checksummed

logger = logging.getLogger(__name__)

_LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.deleted")
_QUARANTINE = "damaged"  # folder of the workdir
_UNFINISHED = "unfinished"


class Steps:
  """The steps on disk, as one process sees them.

  The newest `keep` are kept, and beside them the best, the one for which
  validation measured the largest value of `best`, and step 0, because what a
  run was started from cannot be made again.
  """

  def __init__(self, workdir: Path, *, keep: int, best: str):
    self._keep = keep
    self._best = best
    self.folder = Path(workdir).absolute() / "checkpoints"
    self.quarantine_folder = self.folder.with_name(_QUARANTINE)

  def steps(self) -> list[int]:
    """Those that were saved completely, in order."""
    return [s for s in self.begun() if self.path(s, MANIFEST).is_file()]

  def begun(self) -> list[int]:
    """Those that have a folder, saved completely or not, in order."""
    names = [p.name for p in self.folder.glob("*")]
    return sorted(int(name) for name in names if name.isdigit())

  def path(self, step: int, name: str = "") -> Path:
    """The folder of a step, or a file in it."""
    return self.folder / str(step) / name

  def metrics(self, step: int) -> dict[str, float] | None:
    """What validation measured at a step; None where it did not run."""
    return read_checksummed(self.path(step, MANIFEST)).get("metrics")

  def last_metrics(self) -> dict[str, float]:
    """What validation measured last; {} where it did not run."""
    found = (self.metrics(step) for step in reversed(self.steps()))
    return next((metrics for metrics in found if metrics), {})

  def best_step(self) -> int | None:
    """The step that did best on validation; None before any evaluation.

    Small catalogues are soon found whole: of equals that whose single sides
    score more, then the later one.
    """
    ranks = {}
    for step in self.steps():
      metrics = self.metrics(step) or {}
      score = metrics.get(self._best, math.nan)
      # NaN is no score: it is neither more nor less than any number.
      if not math.isnan(score):
        ranks[step] = (score, self._of_sides(metrics), step)
    return max(ranks, key=lambda step: ranks[step]) if ranks else None

  def default_step(self) -> int | None:
    """The best step, the newest where none was evaluated; None without any."""
    best = self.best_step()
    return max(self.steps(), default=None) if best is None else best

  def _of_sides(self, metrics: dict[str, float]) -> float:
    """What `best` names, added up of all that it was measured of."""
    name = f"/{self._best.rpartition('/')[2]}"
    return sum(
      value
      for key, value in metrics.items()
      if key.endswith(name) and not math.isnan(value)
    )

  def make_folder(self) -> None:
    """Makes the folder, and deletes what killed saves left there."""
    self.folder.mkdir(parents=True, exist_ok=True)
    self.clear()

  def clear(self) -> None:
    """Deletes what killed and failed saves left."""
    for pattern in _LEFTOVERS:
      for path in self.folder.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)

  def set_aside_unranked(self) -> None:
    """Moves steps before the newest away whose manifest is corrupt.

    While one is there, neither the best nor what may be deleted can be told.
    """
    for step in self.steps()[:-1]:
      try:
        self.metrics(step)
      except CorruptError as error:
        logger.info(f"checkpoint {step} is set aside: {error}")
        self.quarantine(step, unfinished=False)

  def delete_old(self) -> None:
    """Deletes the steps that need not be kept."""
    try:
      self.set_aside_unranked()
      steps = self.steps()
      keep = {0, *steps[-self._keep :], self.best_step()}
      for step in set(steps) - keep:
        doomed = self.path(step).with_suffix(".deleted")
        self.path(step).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    except (CorruptError, OSError) as error:
      logger.info(f"a checkpoint could not be deleted: {error}")

  def quarantine(self, step: int, *, unfinished: bool) -> None:
    """Moves a corrupt step out of the way, so that it can be saved again.

    Of saves that were cut off only the latest is kept: there may be one at
    every kill.
    """
    folder = self.quarantine_folder
    folder.mkdir(exist_ok=True)
    if unfinished:
      for before in folder.glob(f"*.{_UNFINISHED}.*"):
        shutil.rmtree(before, ignore_errors=True)
    number = len(list(folder.iterdir()))
    kind = f".{_UNFINISHED}" if unfinished else ""
    self.path(step).rename(folder / f"{step}{kind}.{number}")

  def quarantined(self) -> bool:
    """Whether a step that had been saved completely is in quarantine."""
    found = self.quarantine_folder.glob("*")
    return any(_UNFINISHED not in path.name for path in found)
