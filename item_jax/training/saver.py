"""Decides when a run's State is saved, and tries again where that failed."""

import logging
import time

import jax

from item_jax.config import Checkpoint
from item_jax.distributed.collectives import as_first
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.metric_log import Log

logger = logging.getLogger(__name__)

# Seconds before each try to save the last state: within the half minute that
# a cloud leaves to a machine that it takes away.
LAST_TRIES = (0, 1, 2, 4, 8)
_FIRST_PAUSE = 1.0  # s between a failed save and the next; doubles
_LONGEST_PAUSE = 300.0


class Saver:
  """Saves the State of a run as it goes; a failed save does not end the run.

  Every process of a run calls the same methods at the same moments, and all
  decide as process 0 does.
  """

  def __init__(
    self,
    checkpoints: Checkpoints,
    log: Log,
    when: Checkpoint,
    *,
    log_every: int,
    saved: int | None,
  ):
    """`saved`: the step that is on disk already, if any."""
    self._checkpoints = checkpoints
    self._log = log
    self._when = when
    self._log_every = log_every
    self._saved = saved
    self._pending: int | None = None
    self._begun = time.monotonic()  # of the last save that did not fail
    self._failures = 0
    self._next_try = 0.0

  def due(self, step: int) -> bool:
    """Whether to save now; also notes how the save before has ended."""
    # Many processes agree on the time, which makes them wait for each other.
    agrees = jax.process_count() == 1 or step % self._log_every == 0
    pending = self._pending is not None
    if agrees and pending and as_first(self._checkpoints.ended()):
      self._settle(step)
    if step % self._when.every == 0:
      return True
    now = time.monotonic()
    due = now - self._begun >= 60 * self._when.minutes
    if self._failures:
      due = now >= self._next_try
    return agrees and bool(as_first(due))

  def save(self, step: int, state, metrics: dict | None = None) -> None:
    """Starts a save; all rows logged so far are on disk before it."""
    self._settle(step)
    try:
      if as_first(not self._log.flush()):
        raise SaveError("metrics.jsonl cannot be written to")
      self._checkpoints.save(step, state, metrics=metrics)
    except SaveError as error:
      self._failed(step, error)
    else:
      self._pending = step
      self._begun = time.monotonic()

  def finish(self, step: int, state, metrics: dict | None = None) -> None:
    """Returns when the State of the last step is on disk.

    Raises:
      SaveError: it is not, after several tries.
    """
    self._settle(step)
    for pause in LAST_TRIES:
      if self._saved == step and as_first(self._log.flush()):
        return
      time.sleep(pause)
      if self._saved != step:
        self.save(step, state, metrics)
        self._settle(step)
    if self._saved != step or not as_first(self._log.flush()):
      kept = "none" if self._saved is None else f"step {self._saved}"
      raise SaveError(
        f"the last state, of step {step}, is not on disk; what is: {kept}"
      )

  def _settle(self, step: int) -> None:
    """Waits for the save under way, if there is one."""
    if self._pending is None:
      return
    try:
      self._checkpoints.wait()
    except SaveError as error:
      self._failed(step, error)
    else:
      self._saved, self._failures = self._pending, 0
    self._pending = None

  def _failed(self, step: int, error: SaveError) -> None:
    self._failures += 1
    pause = min(_FIRST_PAUSE * 2 ** (self._failures - 1), _LONGEST_PAUSE)
    self._next_try = time.monotonic() + pause
    values = {"failures": self._failures, "error": str(error)}
    self._log.write(step, "save_failed", values)
    if jax.process_index() == 0:
      logger.info(
        f"WARNING at step {step}: a save failed ({self._failures} in a row):"
        f" {error}; the run goes on and tries again"
      )
