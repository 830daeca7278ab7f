"""Writes what a run measures: rows of numbers in; metrics.jsonl, TensorBoard
event files and a progress line out."""

import json
import os
import time
from pathlib import Path

from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"

# Rows carry these too; they differ from run to run, all else repeats.
TIMINGS = frozenset({"samples_per_second", "input_wait", "mfu", "seconds"})


class Log:
  """Appends rows; on resume, rows after the restored step are dropped first.

  So a run that was killed and continued leaves the same rows as one that was
  not, each step once. Only process 0 writes.
  """

  def __init__(self, workdir: Path, *, start: int, active: bool = True):
    self._active = active
    if not active:
      return
    path = Path(workdir) / METRICS_FILE
    drop_rows_after(path, start)
    self._file = path.open("a", encoding="utf-8")
    self._board = SummaryWriter(
      str(Path(workdir) / "tensorboard"),
      purge_step=start + 1 if start else None,
      # Files are named by the second: a quick restart must not take the name.
      filename_suffix=f".{start}",
    )

  def write(self, step: int, kind: str, values: dict) -> None:
    """One row, on disk when this returns. Numbers go to TensorBoard too."""
    if not self._active:
      return
    row = {"step": step, "kind": kind, **values}
    self._file.write(json.dumps(row) + "\n")
    self._file.flush()
    os.fsync(self._file.fileno())
    for name, value in values.items():
      if isinstance(value, (int, float)):
        self._board.add_scalar(f"{kind}/{name}", value, step)
    self._board.flush()

  def close(self) -> None:
    if self._active:
      self._file.close()
      self._board.close()


def drop_rows_after(path: Path, step: int) -> None:
  """Keeps the rows up to `step`; a half-written last line goes too."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      row = json.loads(line)
    except ValueError:
      break  # the line that was being written when the run was killed
    if row["step"] <= step:
      kept.append(line + "\n")
  part = path.with_name(path.name + ".part")
  part.write_text("".join(kept), encoding="utf-8")
  part.replace(path)


class Stopwatch:
  """Rates between two looks: samples a second, share spent on input."""

  def __init__(self):
    self._begin = time.perf_counter()
    self._waited = 0.0
    self._samples = 0

  def add(self, *, samples: int, waited: float) -> None:
    self._samples += samples
    self._waited += waited

  def read(self) -> dict[str, float]:
    """Rates since the last read; starts anew."""
    seconds = max(time.perf_counter() - self._begin, 1e-9)
    rates = {
      "samples_per_second": self._samples / seconds,
      "input_wait": self._waited / seconds,
    }
    self.__init__()
    return rates


def progress_line(step, steps, means, floors, rates, seconds_left) -> str:
  """One line for people: each loss before its floor, "-" where none counted."""

  def number(value) -> str:
    return "-" if value is None else f"{value:.3f}"

  parts = [f"step {step:>{len(str(steps))}}/{steps}"]
  parts.append(f"loss {number(means['loss'])}")
  parts += [
    f"{name} {number(means[name])}|{number(floor)}"
    for name, floor in floors.items()
  ]
  parts.append(f"{rates['samples_per_second']:.0f}/s")
  if rates["input_wait"] > 0.05:
    parts.append(f"waiting {rates['input_wait']:.0%}")
  if "mfu" in rates:
    parts.append(f"mfu {rates['mfu']:.0%}")
  minutes, seconds = divmod(int(seconds_left), 60)
  parts.append(f"{minutes}:{seconds:02d} left")
  return "  ".join(parts)
