"""Ends a run that stands still, and names the host, the stage and the step.

The processes of a run exchange where they are every second, so that each of
them can name the one that holds up the rest. The watchdog ends the process
itself (os._exit), because the main thread is the one that hangs.
"""

import contextlib
import faulthandler
import json
import os
import platform
import sys
import threading
import time
from typing import Any

from item_jax.distributed import cluster
from item_jax.distributed.processes import (
  EXIT_STALLED,
  EXIT_START_AGAIN,
  before_end,
  on_abort,
  write_last_message,
)
from item_jax.distributed.progress import SLOW_STAGES, Peer, Status

# Seconds on top of the timeout in SLOW_STAGES, and the first time in any:
# programs are compiled and loaded, worker processes start.
GRACE_PERIOD = 1800
# These two grow with the seconds between two heartbeats:
_QUIET = 5  # s without a heartbeat: the first suspect when all wait
_DRAIN_DELAY = 3  # s in which the others read a last status
_STOP = "a stop that was asked for"  # how a process ended that starts again
_STALL = "a stall: "  # begins how a process ended that the watchdog ended
_FAST_PROCESSES = 128  # more of them exchange heartbeats less often
_KEYS = "item_jax/progress"


class Watchdog:
  """A context that watches over a run; `update` informs it where the run is.

  The process ends with EXIT_STALLED when it has been in one stage for longer
  than `timeout` (GRACE_PERIOD more in SLOW_STAGES and the first time in any),
  when no heartbeat of another process came for `timeout`, or soon after
  another one failed. A process that waits while another one moves is not
  ended, however long it waits. Many processes have joined before. Where a
  signal ends one before there is anything to save
  (`processes.ended_by_signals`), all end with EXIT_START_AGAIN.
  """

  def __init__(self, timeout: float):
    """`timeout`: in seconds; 0 watches nothing."""
    self._timeout = timeout
    self._status = Status(platform.node(), "set up", 0)
    self._since = time.monotonic()
    self._grace = GRACE_PERIOD
    self._seen = {"set up"}
    self._store: Any = None
    self._me, self._count = 0, 1
    self._pause = 1.0  # s between two heartbeats
    self._peers: dict[int, Peer] = {}
    self._received = time.monotonic()  # when the store last answered
    self._looked = time.monotonic()  # when the watching thread last ran
    self._longest_gap = 0.0  # s between two times that it ran
    self._over, self._send_now = threading.Event(), threading.Event()
    self._ending = threading.Lock()
    self._exchanger = None

  def update(self, stage: str, step: int) -> None:
    """Notes that the run enters a stage of a step."""
    slow = stage in SLOW_STAGES or stage not in self._seen
    self._grace = GRACE_PERIOD if slow else 0
    self._seen.add(stage)
    self._since = time.monotonic()
    self._status = self._status._replace(stage=stage, step=step)

  def __enter__(self) -> "Watchdog":
    if not self._timeout:
      return self
    self._store = cluster.store()
    if self._store is not None:
      import jax

      self._me, self._count = jax.process_index(), jax.process_count()
      # Each reads all statuses: the work of process 0 grows with the square.
      self._pause = max(1.0, self._count / _FAST_PROCESSES)
      now = time.monotonic()
      unknown = Peer(Status("unknown", "set up", 0), now, now)
      self._peers = dict.fromkeys(range(self._count), unknown)
      del self._peers[self._me]
      on_abort(self._on_abort)
      before_end(self._send_stop)
      self._exchanger = threading.Thread(target=self._exchange, daemon=True)
      self._exchanger.start()
    self._since = self._received = self._looked = time.monotonic()
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, kind, error, trace) -> None:
    if not self._timeout:
      return
    if error is not None and self._stop_requested():
      self._follow()  # it fails because another process left
    if self._store is not None:
      before_end(None)
    reason = "" if error is None else cluster.first_line(error)
    self._status = self._status._replace(ended=reason)
    if error is not None and self._store is not None:
      self._find_cause(error)
    self._over.set()
    self._send_now.set()
    faulthandler.cancel_dump_traceback_later()
    if self._exchanger is not None:
      self._exchanger.join(_DRAIN_DELAY)

  def _find_cause(self, error: BaseException) -> None:
    """Names another process whose end may be why this one fails."""
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
      self._send()
      return
    until = time.monotonic() + 2 * self._quiet
    while (now := time.monotonic()) < until:
      # A process that fails for the same reason sends that while it looks.
      cause = (
        self._stood_still(now)
        or self._failed(now, self._quiet)
        or self._silent(now, self._quiet)
      )
      if cause:
        sys.excepthook(type(error), error, error.__traceback__)
        self._end(cause)
      time.sleep(0.5)

  def _watch(self) -> None:
    """Looks every second, in a thread, whether something stands still."""
    while not self._over.wait(1):
      # One moment for all that is compared: the process may be stopped
      # between any two lines, and must then not find the others silent.
      now = time.monotonic()
      self._longest_gap = max(self._longest_gap, now - self._looked)
      self._looked = now
      # For code that keeps Python's lock for ever: then this line runs no
      # more, and a thread of C's ends the process.
      with contextlib.suppress(RuntimeError):  # now no memory for the thread
        faulthandler.dump_traceback_later(
          2 * self._timeout + GRACE_PERIOD, exit=True, file=sys.__stderr__ or 2
        )
      if self._status.ended is not None:
        continue
      if self._stop_requested():
        self._follow()
      cause = self._find_stall(now)
      if cause:
        self._end(cause)

  def _find_stall(self, now: float) -> str:
    """What stands still; "" where nothing does."""
    cause = self._stood_still(now) or self._silent(now, self._timeout)
    if now - self._since > self._timeout + self._grace:
      cause = cause or self._slowest(now)
    # Where all fail alike, each is given time to report that itself.
    return cause or self._failed(now, min(2 * self._quiet, self._timeout))

  def _stood_still(self, now: float) -> str:
    """Whether this process was stopped: what it knows of others is old."""
    gap = max(self._longest_gap, now - self._looked)
    if gap <= self._timeout:
      return ""
    return f"{self._name(self._me)} itself stood still for {gap:.0f} s"

  def _send_stop(self) -> None:
    """Informs the others that this process was asked to stop."""
    self._status = self._status._replace(ended=_STOP)
    self._send()

  def _send(self) -> None:
    """Gives the others time to read this process's status."""
    self._send_now.set()
    time.sleep(max(_DRAIN_DELAY, 3 * self._pause))

  @property
  def _quiet(self) -> float:
    return max(_QUIET, 5 * self._pause)

  def _stop_requested(self) -> bool:
    """Whether any process, this one too, was asked to stop."""
    found = [self._status, *(peer.status for peer in self._peers.values())]
    return any(status.ended == _STOP for status in found)

  def _follow(self) -> None:
    """Ends as another process did that was asked to stop."""
    try:
      message = "stopped with another process; start again"
      write_last_message(message, sys.stdout)
      self._send_stop()
    finally:  # whether or not anybody reads the message
      os._exit(EXIT_START_AGAIN)

  def _slowest(self, now: float) -> str:
    """Whom all wait for, when this process has waited too long.

    "" while another process moves.
    """
    if cause := self._failed(now):
      return cause
    if any(self._moves(now, index) for index in self._peers):
      return ""
    found = {index: peer.status for index, peer in self._peers.items()}
    found[self._me] = self._status
    least = min(status.rank for status in found.values())
    behind = [i for i in sorted(found) if found[i].rank == least]
    waited = now - self._since
    if len(behind) == len(found) > 1:
      return self._silent(now, min(self._quiet, self._timeout / 2)) or (
        f"all {len(found)} processes have been {self._status} for"
        f" {waited:.0f} s"
      )
    names = ", ".join(self._name(i) for i in behind)
    return f"{names} {found[behind[0]]} for about {waited:.0f} s"

  def _moves(self, now: float, index: int) -> bool:
    status, _, moved = self._peers[index]
    grace = GRACE_PERIOD if status.stage in SLOW_STAGES else 0
    return now - moved <= self._timeout + grace

  def _silent(self, now: float, seconds: float) -> str:
    """Names a process that sent no heartbeat for so long."""
    if self._me and now - self._received > seconds:
      # All statuses go through process 0.
      return self._last_seen(0, f"silent for {now - self._received:.0f} s")
    for index, peer in self._peers.items():
      silent = now - peer.changed
      if peer.status.ended is None and silent > seconds:
        return self._last_seen(index, f"silent for {silent:.0f} s")
    return ""

  def _failed(self, now: float, seconds: float = 0) -> str:
    """Why another process ended, if its last status is so many seconds old."""
    for index, peer in self._peers.items():
      ended = peer.status.ended
      if ended and now - peer.changed >= seconds:
        if ended.startswith(_STALL):  # all report the same cause
          return ended.removeprefix(_STALL)
        return self._last_seen(index, f"ended by {ended}")
    return ""

  def _name(self, index: int) -> str:
    peer = self._peers.get(index)
    host = peer.status.host if peer else self._status.host
    return f"process {index} of {self._count} (host {host})"

  def _last_seen(self, index: int, what: str) -> str:
    return f"{self._name(index)} {what}, last seen {self._peers[index].status}"

  def _on_abort(self) -> None:
    """Names the cause where jax aborts: its coordinator is gone."""
    if self._stop_requested():
      os._exit(EXIT_START_AGAIN)
    if self._status.ended:
      time.sleep(10 * _DRAIN_DELAY)  # it is about to end of its own failure
    now = time.monotonic()
    cause = self._stood_still(now) or self._failed(now)
    cause = cause or self._silent(now, self._quiet)
    if not cause and self._me:
      cause = self._last_seen(0, "gone")
    self._end(cause or "another process, as jax says above")

  def _end(self, cause: str) -> None:
    """Names the cause, shows every thread, informs the others and ends."""
    try:
      if not self._ending.acquire(blocking=False):
        time.sleep(2 * _DRAIN_DELAY)  # another thread is doing it
        return
      faulthandler.dump_traceback(all_threads=True)
      write_last_message(
        f"item-jax: stalled: {cause}; this is {self._name(self._me)}"
        f" {self._status}",
        sys.stderr,
      )
    finally:  # whether or not that can be written
      if self._store is not None:
        self._status = self._status._replace(ended=_STALL + cause)
        self._send()
      os._exit(EXIT_STALLED)

  def _exchange(self) -> None:
    """Sends and reads statuses, in a thread: the store may not answer."""
    import jax

    heartbeat, over = 0, False
    while True:
      heartbeat += 1
      text = json.dumps(self._status._replace(heartbeat=heartbeat))
      key = f"{_KEYS}/{self._me}"
      try:
        self._store.key_value_set(key, text, allow_overwrite=True)
        self._receive(self._store.key_value_dir_get(_KEYS))
      except jax.errors.JaxRuntimeError:
        pass  # process 0 is gone, or does not answer: `_silent` counts
      if over:
        return
      self._send_now.wait(self._pause)
      self._send_now.clear()
      over = self._over.is_set()

  def _receive(self, found: list[tuple[str, str]]) -> None:
    self._received = time.monotonic()
    for key, text in found:
      index, status = int(key.rpartition("/")[2]), Status(*json.loads(text))
      if index == self._me:
        continue
      before, _, moved = self._peers[index]
      if before.heartbeat == status.heartbeat:
        continue
      if (status.stage, status.step) != (before.stage, before.step):
        moved = self._received
      self._peers[index] = Peer(status, self._received, moved)
