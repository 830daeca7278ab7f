"""Ends a run that stands still: where the loop is comes in, one line that
names host, stage and step goes out, and the process ends.

The processes of a run tell each other every second where they are, so that
each of them can say which one holds up the rest.
"""

import faulthandler
import json
import os
import platform
import sys
import threading
import time
from typing import NamedTuple

from item_jax.distributed import cluster
from item_jax.distributed.processes import (
  EXIT_STALLED,
  EXIT_START_AGAIN,
  before_end,
  on_abort,
)

# Seconds on top of `stall_seconds` for these stages, and for the first time in
# any: programs are compiled and loaded, worker processes start.
PATIENCE = 1800
PATIENT_STAGES = ("set up", "evaluation", "join")
# Of two processes at one step, the one in the earlier stage is behind.
_ORDER = ("set up", "input", "step", "evaluation", "checkpoint")
# Of these many seconds, or of times that processes tell and hear, if longer:
_QUIET = 5  # without a word: the first to suspect when all wait
_FAREWELL = 3  # in which the others read a last word
_STOP = "a stop that was asked for"  # the last word of who starts again
_STALL = "a stall: "  # how the last word of who ended of one begins
_HEARD_AT_ONCE = 128  # processes; more of them tell and hear less often
_KEYS = "item_jax/progress"


class Place(NamedTuple):
  """Where a process is: what it tells the others."""

  host: str
  stage: str
  step: int
  beat: int = 0  # another one each second
  ended: str | None = None  # why before its time; "" for in good order

  def __str__(self) -> str:
    return f"in stage {self.stage!r} at step {self.step}"

  @property
  def rank(self) -> tuple[int, int]:
    known = self.stage in _ORDER
    return self.step, _ORDER.index(self.stage) if known else len(_ORDER)


class _Peer(NamedTuple):
  place: Place
  changed: float  # when its beat was last another one, by our own clock
  moved: float  # when its stage or step was


class Progress:
  """A context that watches over a run; `at` says where the run is.

  The process ends with EXIT_STALLED when it has been in one stage for longer
  than `stall_seconds` (PATIENCE more in PATIENT_STAGES and the first time in
  any), when nothing was heard of another process for `stall_seconds`,
  or soon after another one failed. One that waits while another moves is not
  ended, however long. 0 watches nothing. Where there are many processes,
  they have joined before; where a signal ends one before there is anything to
  save (`processes.ended_by_signals`), all end with EXIT_START_AGAIN.
  """

  def __init__(self, stall_seconds: float):
    self._limit = stall_seconds
    self._place = Place(platform.node(), "set up", 0)
    self._since = time.monotonic()
    self._patience = PATIENCE
    self._seen = {"set up"}
    self._store, self._me, self._count = None, 0, 1
    self._pause = 1.0  # s between two words
    self._peers: dict[int, _Peer] = {}
    self._heard = time.monotonic()  # when the store last answered
    self._over, self._speak = threading.Event(), threading.Event()
    self._ending = threading.Lock()
    self._teller = None

  def at(self, stage: str, step: int) -> None:
    """Says that the run enters a stage of a step."""
    patient = stage in PATIENT_STAGES or stage not in self._seen
    self._patience = PATIENCE if patient else 0
    self._seen.add(stage)
    self._since = time.monotonic()
    self._place = self._place._replace(stage=stage, step=step)

  def __enter__(self) -> "Progress":
    if not self._limit:
      return self
    self._store = cluster.store()
    if self._store is not None:
      import jax

      self._me, self._count = jax.process_index(), jax.process_count()
      # Each asks for all places: so much the work of process 0 grows.
      self._pause = max(1.0, self._count / _HEARD_AT_ONCE)
      now = time.monotonic()
      unheard = _Peer(Place("unknown", "set up", 0), now, now)
      self._peers = dict.fromkeys(range(self._count), unheard)
      del self._peers[self._me]
      on_abort(self._aborted)
      before_end(self._say_stop)
      self._teller = threading.Thread(target=self._tell, daemon=True)
      self._teller.start()
    self._since = self._heard = time.monotonic()
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, kind, error, trace) -> None:
    if not self._limit:
      return
    if error is not None and self._stopping():
      self._follow()  # what it fails of is that another one left
    if self._store is not None:
      before_end(None)
    reason = "" if error is None else cluster.first_line(error)
    self._place = self._place._replace(ended=reason)
    if reason and self._store is not None:
      self._find_cause(error)
    self._over.set()
    self._speak.set()
    faulthandler.cancel_dump_traceback_later()
    if self._teller is not None:
      self._teller.join(_FAREWELL)

  def _find_cause(self, error: BaseException) -> None:
    """What a process fails of may be the end of another: names that one."""
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
      self._say()
      return
    until = time.monotonic() + 2 * self._quiet
    while time.monotonic() < until:
      # Who fails of the same end tells so while it looks for the cause.
      cause = self._failed(self._quiet) or self._silent(self._quiet)
      if cause:
        sys.excepthook(type(error), error, error.__traceback__)
        self._end(cause)
      time.sleep(0.5)

  def _watch(self) -> None:
    looked = time.monotonic()
    while not self._over.wait(1):
      slept, looked = time.monotonic() - looked, time.monotonic()
      # For code that keeps Python's lock for ever: then this line runs no
      # more, and a thread of C's ends the process.
      faulthandler.dump_traceback_later(2 * self._limit + PATIENCE, exit=True)
      if self._place.ended is not None:
        continue
      if self._stopping():
        self._follow()
      waited = time.monotonic() - self._since
      cause = self._silent(self._limit)
      if slept > self._limit:
        cause = f"{self._name(self._me)} itself stood still for {slept:.0f} s"
      if waited > self._limit + self._patience:
        cause = cause or self._slowest(waited)
      # Where all fail alike, each is given time to say so itself.
      cause = cause or self._failed(min(2 * self._quiet, self._limit))
      if cause:
        self._end(cause)

  def _say_stop(self) -> None:
    """Tells the others that this process is asked to stop."""
    self._place = self._place._replace(ended=_STOP)
    self._say()

  def _say(self) -> None:
    """Gives the others time to hear where this process is."""
    self._speak.set()
    time.sleep(max(_FAREWELL, 3 * self._pause))

  @property
  def _quiet(self) -> float:
    return max(_QUIET, 5 * self._pause)

  def _stopping(self) -> bool:
    """Whether any process, this one too, was asked to stop."""
    places = [self._place, *(peer.place for peer in self._peers.values())]
    return any(place.ended == _STOP for place in places)

  def _follow(self) -> None:
    """Ends as another process does that was asked to stop."""
    try:
      print("stopped with another process; start again", flush=True)
      self._say_stop()
    finally:  # whether or not anybody reads that
      os._exit(EXIT_START_AGAIN)

  def _slowest(self, waited: float) -> str:
    """Whom all wait for, when this process has waited too long; "" while
    another one moves."""
    cause = self._failed()
    if cause:
      return cause
    if any(self._moves(i) for i in self._peers):
      return ""
    places = {i: peer.place for i, peer in self._peers.items()}
    places[self._me] = self._place
    least = min(place.rank for place in places.values())
    behind = [i for i in sorted(places) if places[i].rank == least]
    if len(behind) == len(places) > 1:
      return self._silent(min(self._quiet, self._limit / 2)) or (
        f"all {len(places)} processes have been {self._place} for"
        f" {waited:.0f} s"
      )
    names = ", ".join(self._name(i) for i in behind)
    return f"{names} {places[behind[0]]} for about {waited:.0f} s"

  def _moves(self, index: int) -> bool:
    place, _, moved = self._peers[index]
    patience = PATIENCE if place.stage in PATIENT_STAGES else 0
    return time.monotonic() - moved <= self._limit + patience

  def _silent(self, seconds: float) -> str:
    """Names a process of which nothing was heard for so long."""
    now = time.monotonic()
    if self._me and now - self._heard > seconds:
      # Process 0 passes all words on.
      return self._last_seen(0, f"silent for {now - self._heard:.0f} s")
    for index, peer in self._peers.items():
      silent = now - peer.changed
      if peer.place.ended is None and silent > seconds:
        return self._last_seen(index, f"silent for {silent:.0f} s")
    return ""

  def _failed(self, seconds: float = 0) -> str:
    """Why another process ended, whose last word is so long ago."""
    now = time.monotonic()
    for index, peer in self._peers.items():
      ended = peer.place.ended
      if ended and now - peer.changed >= seconds:
        if ended.startswith(_STALL):  # all say the same of it
          return ended.removeprefix(_STALL)
        return self._last_seen(index, f"ended by {ended}")
    return ""

  def _name(self, index: int) -> str:
    peer = self._peers.get(index)
    host = peer.place.host if peer else self._place.host
    return f"process {index} of {self._count} (host {host})"

  def _last_seen(self, index: int, what: str) -> str:
    return f"{self._name(index)} {what}, last seen {self._peers[index].place}"

  def _aborted(self) -> None:
    """jax ends a process whose coordinator is gone."""
    if self._stopping():
      os._exit(EXIT_START_AGAIN)
    if self._place.ended:
      time.sleep(10 * _FAREWELL)  # it is about to end of its own failure
    cause = self._failed() or self._silent(self._quiet)
    if not cause and self._me:
      cause = self._last_seen(0, "gone")
    self._end(cause or "another process, as jax says above")

  def _end(self, cause: str) -> None:
    """Says whom all wait for, shows every thread, tells the others, ends."""
    if not self._ending.acquire(blocking=False):
      time.sleep(2 * _FAREWELL)  # another thread is at it
    try:
      print(
        f"item-jax: stalled: {cause}; this is {self._name(self._me)}"
        f" {self._place}",
        file=sys.stderr,
        flush=True,
      )
      faulthandler.dump_traceback(all_threads=True)
    finally:  # whether or not that can be written
      if self._store is not None:
        self._place = self._place._replace(ended=_STALL + cause)
        self._say()
      os._exit(EXIT_STALLED)

  def _tell(self) -> None:
    """Tells and hears once a second: a thread, as the store may not answer."""
    import jax

    beat, over = 0, False
    while True:
      beat += 1
      text = json.dumps(self._place._replace(beat=beat))
      key = f"{_KEYS}/{self._me}"
      try:
        self._store.key_value_set(key, text, allow_overwrite=True)
        self._hear(self._store.key_value_dir_get(_KEYS))
      except jax.errors.JaxRuntimeError:
        pass  # process 0 is gone, or does not answer: `_silent` counts
      if over:
        return
      self._speak.wait(self._pause)
      self._speak.clear()
      over = self._over.is_set()

  def _hear(self, found: list[tuple[str, str]]) -> None:
    self._heard = time.monotonic()
    for key, text in found:
      index, place = int(key.rpartition("/")[2]), Place(*json.loads(text))
      if index == self._me or self._peers[index].place.beat == place.beat:
        continue
      before, _, moved = self._peers[index]
      if (place.stage, place.step) != (before.stage, before.step):
        moved = self._heard
      self._peers[index] = _Peer(place, self._heard, moved)
