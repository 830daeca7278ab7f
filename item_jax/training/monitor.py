"""Logs what the steps of a run report, and ends a run that cannot go on."""

import logging
from typing import Any

import jax
import numpy as np

from item_jax.data import order
from item_jax.data.unreadable import (
  TooManyBadRecordsError,
  listed,
  most_unreadable,
)
from item_jax.models import cost
from item_jax.training.metric_log import Log, Stopwatch, progress_line
from item_jax.training.setup import Setup
from item_jax.training.step import Report

logger = logging.getLogger(__name__)

_NAMED = 5  # ids in a message; metrics.jsonl has them all


class DivergedError(RuntimeError):
  """Too many steps in a row were skipped."""


class TrainMonitor:
  """Reads reports one step late, so that reading never stalls a device."""

  def __init__(self, setup: Setup, log: Log):
    self._setup = setup
    self._log = log
    self._pending = None
    self._last_unreadable: list[str] = []
    self.skipping = False  # the last step that was read
    self._idle: set[str] = set()  # objectives of which it was told
    self._stopwatch = Stopwatch()
    self._peak = cost.peak_flops(
      jax.devices()[0].device_kind, setup.config.model.dtype
    )

  def on_step(self, step: int, report: Report, waited: float) -> None:
    """Takes the report of a step, and reads the one before.

    Args:
      waited: seconds that the step's batch took to come.

    Raises:
      DivergedError, TooManyBadRecordsError: the run cannot go on.
    """
    self._stopwatch.wait(waited)  # before the row that has this time
    self.flush()
    self._stopwatch.count(self._setup.config.batch_size)
    self._pending = (step, report)

  def flush(self) -> None:
    """Reads the last report. Raises as `on_step`."""
    if self._pending is None:
      return
    (step, report), self._pending = self._pending, None
    config = self._setup.config
    unreadable = np.flatnonzero(np.asarray(report.unreadable_B)).tolist()
    if unreadable:
      self._log_unreadable(step, report, unreadable)
    self.skipping = bool(report.skipped)
    if self.skipping:
      self._log_skipped(step, report)
    if step % config.log_every == 0 or step == config.steps:
      self._log_step(step, report)

  def reset_timer(self) -> None:
    """Leaves out of the rates what took time between two steps."""
    self._stopwatch = Stopwatch()

  def log_eval(self, step: int, metrics: dict[str, float]) -> None:
    """Logs what was measured after a step."""
    if jax.process_index() == 0:
      text = "  ".join(f"{k} {v:.3f}" for k, v in metrics.items())
      logger.info(f"eval {step}  {text}")

  def _log_step(self, step: int, report: Report) -> None:
    config = self._setup.config
    # None where nothing counted: no image to recover, no good step since.
    means = {
      k: float(v.compute()) if float(v.count) else None
      for k, v in report.sums.items()
    }
    spikes = int(report.spike.total) if report.spike else 0
    taken = step - int(report.skipped_total) - spikes
    rates = self._stopwatch.read()
    if self._peak:
      used = rates["samples_per_second"] * self._setup.task.train_flops
      rates["mfu"] = used / (self._peak * jax.device_count())
    values = {
      **means,
      **{f"{k}_floor": v for k, v in self._setup.chance_levels.items()},
      "lr": float(self._setup.schedule(max(taken - 1, 0))),
      "bad_steps": int(report.skipped_total),
      "bad_records": int(report.unreadable_total),
    }
    if report.spike:
      values["spikes"] = spikes
    self._log.write(step, "train", {**values, **rates})
    if jax.process_index() == 0:
      self._tell_idle(step, means)
      left = (config.steps - step) * config.batch_size
      logger.info(
        progress_line(
          step,
          config.steps,
          means,
          self._setup.chance_levels,
          rates,
          left / rates["samples_per_second"],
        )
      )

  def _tell_idle(self, step: int, means: dict[str, float | None]) -> None:
    """Names objectives that found nothing to learn, each once."""
    if means["loss"] is None:  # no step was good
      return
    weights = self._setup.task.objective.weights
    idle = {name for name in weights if weights[name] and means[name] is None}
    if new := sorted(idle - self._idle):
      logger.info(
        f"step {step}: nothing to learn for {', '.join(new)} so far: no row"
        " has the image, the title or the label that it needs"
      )
    self._idle |= idle

  def _log_unreadable(self, step: int, report: Report, rows) -> None:
    """Names the records, and ends the run where there are too many."""
    config = self._setup.config
    if jax.process_index() == 0:
      ids = order.bad_ids(config, self._setup.store, step - 1, rows)
      self._log.write(step, "bad_record", {"listing_ids": ids})
      self._last_unreadable = [*self._last_unreadable, *ids][-_NAMED:]
      logger.info(f"step {step}: cannot be read: {listed(ids, _NAMED)}")
    total, fraction = int(report.unreadable_total), config.data.max_bad_fraction
    rows_read = step * config.batch_size
    if total > most_unreadable(
      fraction, rows_read, self._setup.store.sizes[config.data.train_split]
    ):
      raise TooManyBadRecordsError(
        f"{total} of {rows_read} rows could not be read until step {step}, more"
        f" than data.max_bad_fraction={fraction} allows; the last:"
        f" {listed(self._last_unreadable, _NAMED)}; metrics.jsonl names the"
        " others"
      )

  def _log_skipped(self, step: int, report: Report) -> None:
    """Names the batch, and ends the run after too many in a row."""
    config = self._setup.config
    in_a_row = int(report.skipped_in_a_row)
    row: dict[str, Any] = {"in_a_row": in_a_row}
    kind, why = "bad", "loss or gradient is not finite"
    if report.spike and bool(report.spike.spike):
      norm, limit = float(report.spike.norm), float(report.spike.threshold)
      row |= {"gradient_norm": norm, "threshold": limit}
      kind, why = "spike", f"gradient norm {norm:.4g} is above {limit:.4g}"
    if jax.process_index() == 0:
      ids = order.listing_ids(config, self._setup.store, step - 1)
      row["listing_ids"] = ids
      self._log.write(step, kind, row)
      logger.info(
        f"step {step}: {why}; the update is skipped ({in_a_row} in a row)"
      )
    if in_a_row >= config.max_skipped_steps:
      raise DivergedError(
        f"{in_a_row} steps in a row were skipped, the last at step {step}:"
        f" {why}; checkpoints from before step {step - in_a_row} are intact,"
        " metrics.jsonl names the listings"
      )
