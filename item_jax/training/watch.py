"""Looks at a run while it goes: reports of steps in; rows, lines and, where it
has to be, the end of the run out."""

import jax

from item_jax.data import pipeline
from item_jax.models import cost
from item_jax.training.metrics import Log, Stopwatch, progress_line
from item_jax.training.setup import Setup


class DivergedError(RuntimeError):
  """Too many non-finite steps in a row."""


class Watch:
  """Looks at reports one step late, so that looking never stalls a device."""

  def __init__(self, setup: Setup, log: Log):
    self._setup = setup
    self._log = log
    self._pending = None
    self._stopwatch = Stopwatch()
    self._peak = cost.peak_flops(jax.devices()[0].device_kind)

  def see(self, step: int, report, waited: float) -> None:
    self.flush()
    self._stopwatch.add(samples=self._setup.config.batch_size, waited=waited)
    self._pending = (step, report)

  def flush(self) -> None:
    if self._pending is None:
      return
    (step, report), self._pending = self._pending, None
    config = self._setup.config
    if bool(report.bad):
      self._say_bad(step, report)
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
    taken = step - int(report.bad_total)
    rates = self._stopwatch.read()
    if self._peak:
      used = rates["samples_per_second"] * self._setup.task.train_flops
      rates["mfu"] = used / (self._peak * jax.device_count())
    values = {
      **means,
      **{f"{k}_floor": v for k, v in self._setup.floors.items()},
      "lr": float(self._setup.schedule(max(taken - 1, 0))),
      "bad_steps": int(report.bad_total),
    }
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

  def _say_bad(self, step: int, report) -> None:
    config = self._setup.config
    ids = pipeline.listing_ids(
      self._setup.store,
      config.data.train_split,
      batch_size=config.batch_size,
      seed=config.seed,
      step=step - 1,
    )
    run = int(report.bad_run)
    self._log.write(step, "bad", {"in_a_row": run, "listing_ids": ids})
    print(
      f"step {step}: loss or gradient is not finite; the update is skipped"
      f" ({run} in a row)",
      flush=True,
    )
    if run >= config.max_bad_steps:
      raise DivergedError(
        f"{run} non-finite steps in a row, the last at step {step}; the"
        " checkpoints before them are intact, metrics.jsonl names the listings"
      )
