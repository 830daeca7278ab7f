"""Looks at a run while it goes: reports of steps in; rows, lines and, where it
has to be, the end of the run out."""

import jax
import numpy as np

from item_jax.data import order
from item_jax.data.unreadable import TooManyBadRecordsError, listed
from item_jax.models import cost
from item_jax.training.metric_log import Log, Stopwatch, progress_line
from item_jax.training.setup import Setup

_NAMED = 5  # ids in a message; metrics.jsonl has them all


class DivergedError(RuntimeError):
  """Too many steps in a row were skipped."""


class TrainMonitor:
  """Looks at reports one step late, so that looking never stalls a device."""

  def __init__(self, setup: Setup, log: Log):
    self._setup = setup
    self._log = log
    self._pending = None
    self._last_bad_ids: list[str] = []
    self._stopwatch = Stopwatch()
    self._peak = cost.peak_flops(
      jax.devices()[0].device_kind, setup.config.model.dtype
    )

  def see(self, step: int, report, waited: float) -> None:
    self.flush()
    self._stopwatch.add(samples=self._setup.config.batch_size, waited=waited)
    self._pending = (step, report)

  def flush(self) -> None:
    if self._pending is None:
      return
    (step, report), self._pending = self._pending, None
    config = self._setup.config
    bad_rows = np.flatnonzero(np.asarray(report.bad_rows_B)).tolist()
    if bad_rows:
      self._say_bad_records(step, report, bad_rows)
    if bool(report.bad):
      self._say_skipped(step, report)
    if step % config.log_every == 0 or step == config.steps:
      self._write(step, report)

  def restart(self) -> None:
    """Leaves out of the rates what took time between two steps."""
    self._stopwatch = Stopwatch()

  def say(self, step: int, metrics: dict[str, float]) -> None:
    if jax.process_index() == 0:
      text = "  ".join(f"{k} {v:.3f}" for k, v in metrics.items())
      print(f"eval {step}  {text}", flush=True)

  def _write(self, step: int, report) -> None:
    config = self._setup.config
    # None where nothing counted: no photo to recover, no good step since.
    means = {
      k: float(v.compute()) if float(v.count) else None
      for k, v in report.sums.items()
    }
    spikes = int(report.verdict.total) if report.verdict else 0
    taken = step - int(report.bad_total) - spikes
    rates = self._stopwatch.read()
    if self._peak:
      used = rates["samples_per_second"] * self._setup.task.train_flops
      rates["mfu"] = used / (self._peak * jax.device_count())
    values = {
      **means,
      **{f"{k}_floor": v for k, v in self._setup.floors.items()},
      "lr": float(self._setup.schedule(max(taken - 1, 0))),
      "bad_steps": int(report.bad_total),
      "bad_records": int(report.bad_records),
    }
    if report.verdict:
      values["spikes"] = spikes
    self._log.write(step, "train", {**values, **rates})
    if jax.process_index() == 0:
      left = (config.steps - step) * config.batch_size
      print(
        progress_line(
          step,
          config.steps,
          means,
          self._setup.floors,
          rates,
          left / rates["samples_per_second"],
        ),
        flush=True,
      )

  def _say_bad_records(self, step: int, report, rows) -> None:
    """Names them, and ends the run where there are too many."""
    config = self._setup.config
    if jax.process_index() == 0:
      ids = order.bad_ids(
        self._setup.store,
        config.data.train_split,
        rows,
        batch_size=config.batch_size,
        seed=config.seed,
        step=step - 1,
      )
      self._log.write(step, "bad_record", {"listing_ids": ids})
      self._last_bad_ids = [*self._last_bad_ids, *ids][-_NAMED:]
      print(f"step {step}: cannot be read: {listed(ids, _NAMED)}", flush=True)
    bad, share = int(report.bad_records), config.data.max_bad_fraction
    rows_read = step * config.batch_size
    if bad > _allowed(
      share, rows_read, self._setup.store.sizes[config.data.train_split]
    ):
      raise TooManyBadRecordsError(
        f"{bad} of {rows_read} rows could not be read until step {step}, more"
        f" than data.max_bad_fraction={share} allows; the last:"
        f" {listed(self._last_bad_ids, _NAMED)}; metrics.jsonl names the others"
      )

  def _say_skipped(self, step: int, report) -> None:
    """Names the batch, and ends the run after too many in a row."""
    config = self._setup.config
    run = int(report.bad_run)
    row = {"in_a_row": run}
    kind, why = "bad", "loss or gradient is not finite"
    if report.verdict and bool(report.verdict.spike):
      norm, limit = float(report.verdict.norm), float(report.verdict.threshold)
      row |= {"gradient_norm": norm, "threshold": limit}
      kind, why = "spike", f"gradient norm {norm:.4g} is above {limit:.4g}"
    if jax.process_index() == 0:
      row["listing_ids"] = order.listing_ids(
        self._setup.store,
        config.data.train_split,
        image_size=config.model.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        step=step - 1,
      )
      self._log.write(step, kind, row)
      print(
        f"step {step}: {why}; the update is skipped ({run} in a row)",
        flush=True,
      )
    if run >= config.max_skipped_steps:
      raise DivergedError(
        f"{run} steps in a row were skipped, the last at step {step}: {why};"
        " the checkpoints before them are intact, metrics.jsonl names the"
        " listings"
      )


def _allowed(share: float, rows_read: int, rows_of_split: int) -> float:
  """How many bad records do not stop a run.

  One on each pass never does, whatever its share of a small split; 0 is
  meant as it is said.
  """
  if not share:
    return 0
  passes = -(-rows_read // rows_of_split)
  return max(share * max(rows_read, rows_of_split), passes)
