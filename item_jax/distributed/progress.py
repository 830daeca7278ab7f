"""Describes where a run is, and who is informed of it."""

from typing import NamedTuple, Protocol

SLOW_STAGES = ("set up", "evaluation", "join")
# Of two processes at one step, the one in the earlier stage is behind.
_ORDER = ("set up", "input", "step", "evaluation", "checkpoint")


class Status(NamedTuple):
  """Where a process is: what it sends to the others."""

  host: str
  stage: str
  step: int
  heartbeat: int = 0  # another one each second
  ended: str | None = None  # why before its time; "" for in good order

  def __str__(self) -> str:
    return f"in stage {self.stage!r} at step {self.step}"

  @property
  def rank(self) -> tuple[int, int]:
    known = self.stage in _ORDER
    return self.step, _ORDER.index(self.stage) if known else len(_ORDER)


class Peer(NamedTuple):
  """What a process knows of another one."""

  status: Status
  changed: float  # when its heartbeat last changed, by this process's clock
  moved: float  # when its stage or step did


class ProgressListener(Protocol):
  """Is informed whenever a run enters another stage of a step."""

  def update(self, stage: str, step: int) -> None: ...


class NullListener:
  """A progress listener that ignores every update."""

  def update(self, stage: str, step: int) -> None:
    pass
