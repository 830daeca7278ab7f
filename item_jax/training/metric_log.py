"""Writes what a run measures: metrics.jsonl and TensorBoard's event files.

Formats the progress line, too.
"""

import contextlib
import json
import logging
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from item_jax.files import METRICS_FILE, whole_rows

if TYPE_CHECKING:
  from tensorboardX.event_file_writer import EventsWriter

logger = logging.getLogger(__name__)


class Log:
  """Appends rows; on resume, drops the rows after the restored step first.

  So a run that was killed and continued leaves the same rows as one that was
  not, each step once. Only process 0 writes.

  A disk that is full or gone never ends a run: rows that cannot be written
  wait in memory, and are written in order once that is possible again.
  """

  def __init__(self, workdir: Path, *, start: int, active: bool = True):
    self._active = active
    if not active:
      return
    self._path = Path(workdir) / METRICS_FILE
    last = drop_rows_after(self._path, start)
    if last > start:
      kept = f"the checkpoint of step {start}" if start else "no checkpoint"
      logger.info(f"{self._path} went on to step {last}; there is {kept}")
    self._size = self._path.stat().st_size if self._path.exists() else 0
    self._waiting: list[str] = []
    self._failing = False
    self._board = _Board(Path(workdir) / "tensorboard", start)

  def write(self, step: int, kind: str, values: dict) -> None:
    """Writes one row; it is on disk when this returns, if that is possible.

    Numbers go to TensorBoard too; what cannot be written there is lost there.
    """
    if not self._active:
      return
    row = {"step": step, "kind": kind, **values}
    self._waiting.append(json.dumps(row) + "\n")
    if self.flush():
      self._board.write(step, kind, values)

  def flush(self) -> bool:
    """Tries to write the rows that wait; returns whether all are on disk."""
    if not self._active or not self._waiting:
      return True
    try:
      self._append("".join(self._waiting).encode())
    except OSError as error:
      if not self._failing:
        self._warn(f"rows are kept in memory until it can be written: {error}")
      self._failing = True
      return False
    self._waiting.clear()
    self._failing = False
    return True

  def has(self, step: int, kind: str) -> bool:
    """Whether the file has a row of a kind for a step."""
    if not self._active or not self._path.exists():
      return False
    rows = (row for row, _ in whole_rows(self._path))
    return any(row["step"] == step and row["kind"] == kind for row in rows)

  def _append(self, lines: bytes) -> None:
    with self._path.open("ab") as file:
      # Half a row that an earlier attempt left; less than there was where
      # the file was removed under way.
      self._size = min(self._size, file.tell())
      file.truncate(self._size)
      file.write(lines)
      file.flush()
      os.fsync(file.fileno())
    self._size += len(lines)

  def _warn(self, text: str) -> None:
    logger.warning(f"{self._path}: {text}")

  def close(self) -> None:
    """Tries once more to write the rows that wait; warns of those lost."""
    if not self._active:
      return
    self._board.close()
    if not self.flush():
      self._warn(f"the last {len(self._waiting)} rows are lost")


class _Board:
  """TensorBoard's event files, which may have gaps.

  Written by a thread that a full disk does not end, as it ends that of
  tensorboardX's own writer. No more than one row waits for it.
  """

  def __init__(self, folder: Path, start: int):
    self._folder = folder
    self._start = start
    self._files = 0
    self._writer: EventsWriter | None = None
    self._thread = ThreadPoolExecutor(1, thread_name_prefix="tensorboard")
    self._last: Future | None = None

  def write(self, step: int, kind: str, values: dict) -> None:
    """Writes the numbers of a row while the caller goes on; waits for those
    of the row before."""
    if self._last:
      self._last.result()
    numbers = {
      f"{kind}/{name}": value
      for name, value in values.items()
      if isinstance(value, (int, float))
    }
    self._last = self._thread.submit(self._write, step, numbers)

  def _write(self, step: int, numbers: dict) -> None:
    # Where PyTorch is installed, tensorboardX imports all of it.
    from tensorboardX import summary

    try:
      writer = self._writer or self._open()
      for name, value in numbers.items():
        _add(writer, step, summary=summary.scalar(name, value))
      writer.flush()
    except OSError:  # that of metrics.jsonl is reported if it lasts
      self._close()

  def _open(self) -> "EventsWriter":
    from tensorboardX.event_file_writer import EventsWriter

    self._folder.mkdir(exist_ok=True)  # a workdir that is gone stays gone
    # Files are named by the second: a quick restart must not take the name.
    suffix = f".{self._start}.{self._files}"
    self._files += 1
    writer = EventsWriter(str(self._folder / "events"), suffix)
    self._writer = writer
    if self._start:  # hides what was written there after this step
      kind = _protocol().SessionLog
      restart = kind(status=kind.START)
      _add(writer, self._start + 1, session_log=restart)
    return writer

  def close(self) -> None:
    self._thread.shutdown()
    self._close()

  def _close(self) -> None:
    if self._writer is not None:
      with contextlib.suppress(OSError):
        self._writer.close()
    self._writer = None


def _protocol() -> Any:
  """TensorBoard's messages; protobuf makes their classes at the import."""
  from tensorboardX.proto import event_pb2

  return event_pb2


def _add(writer: "EventsWriter", step: int, **content) -> None:
  event = _protocol().Event(step=step, wall_time=time.time(), **content)
  writer.write_event(event)


def drop_rows_after(path: Path, step: int) -> int:
  """Keeps the rows up to `step`; drops a half-written last line too.

  Truncates the file in place, which works on a full disk.

  Returns:
    The last step that had a row, 0 where none had.
  """
  if not path.exists():
    return 0
  rows = [(row["step"], end) for row, end in whole_rows(path)]
  with path.open("r+b") as file:
    file.truncate(max((end for at, end in rows if at <= step), default=0))
    os.fsync(file.fileno())
  return max((at for at, _ in rows), default=0)


class Stopwatch:
  """Measures samples a second, and the fraction of time spent on input."""

  def __init__(self):
    self._begin = time.perf_counter()
    self._waited = 0.0
    self._samples = 0

  def count(self, samples: int) -> None:
    self._samples += samples

  def wait(self, seconds: float) -> None:
    """Counts seconds until now that passed in waiting for input."""
    self._waited += seconds

  def read(self) -> dict[str, float]:
    """Returns the rates since the last read."""
    seconds = max(time.perf_counter() - self._begin, 1e-9)
    rates = {
      "samples_per_second": self._samples / seconds,
      "input_wait": self._waited / seconds,
    }
    self.__init__()
    return rates


def progress_line(
  step: int,
  steps: int,
  means: dict[str, float | None],
  chance_levels: dict[str, float],
  rates: dict[str, float],
  seconds_left: float,
) -> str:
  """Formats a step for people: each loss|chance, "-" where nothing counted."""

  def number(value) -> str:
    return "-" if value is None else f"{value:.3f}"

  parts = [f"step {step:>{len(str(steps))}}/{steps}"]
  parts.append(f"loss {number(means['loss'])}")
  parts += [
    f"{name} {number(means[name])}|{number(chance)}"
    for name, chance in chance_levels.items()
  ]
  parts.append(f"{rates['samples_per_second']:.0f}/s")
  if rates["input_wait"] > 0.05:
    parts.append(f"waiting {rates['input_wait']:.0%}")
  if "mfu" in rates:
    parts.append(f"mfu {rates['mfu']:.0%}")
  parts.append(f"{_clock(seconds_left)} left")
  return "  ".join(parts)


def _clock(seconds: float) -> str:
  """Formats a time: "7:05" (minutes), "3 h 07" or "16 d 16 h"."""
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours >= 24:
    return f"{hours // 24} d {hours % 24} h"
  return f"{hours} h {minutes:02d}" if hours else f"{minutes}:{seconds:02d}"
