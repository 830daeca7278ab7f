"""Measures programs that take turns, so that all of them meet the same load.

Each stays alive in a process of its own: a pool of threads that waits for work,
and what a process asks of its allocator, would be the others' too.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from item_jax.distributed.processes import die_with_parent
from item_jax.workers import count_cores


class Side(NamedTuple):
  """One of those that take turns.

  make: a function of a module: (*given) -> run, where run(count) does the work
    `count` times and returns when all of it is done.
  """

  name: str
  make: Callable[..., Callable[[int], None]]
  given: Sequence[Any] = ()


class Round(NamedTuple):
  """What each side took for one piece of work, {name: seconds}."""

  wall: dict[str, float]
  processor: dict[str, float]  # of all its threads


def take_turns(
  sides: Sequence[Side], *, rounds: int, seconds: float
) -> list[Round]:
  """Runs all sides in every round, from the second one on in reversed order.

  Args:
    seconds: about how long a turn is, and one piece of work at least.
  """
  context = multiprocessing.get_context("spawn")
  pipes, children, found = {}, [], []
  try:
    for side in sides:
      pipes[side.name], theirs = context.Pipe()
      given = (theirs, side, os.getpid())
      child = context.Process(target=_serve, args=given, daemon=True)
      child.start()
      theirs.close()  # or the end of a child would not be heard
      children.append(child)
      pipes[side.name].recv()  # ready: one gets ready at a time
    counts = {}
    for name, pipe in pipes.items():
      pipe.send(1)
      counts[name] = max(1, round(seconds / pipe.recv()[0]))
    for number in range(rounds):
      names = list(pipes)[:: -1 if number % 2 else 1]
      taken = {}
      for name in names:
        pipes[name].send(counts[name])
        taken[name] = [x / counts[name] for x in pipes[name].recv()]
      found.append(Round(*({n: taken[n][i] for n in pipes} for i in range(2))))
  finally:
    for child in children:
      child.terminate()
      child.join()
  return found


def _serve(pipe, side: Side, parent: int) -> None:
  die_with_parent(parent)
  run = side.make(*side.given)
  run(2)  # what the first times take is not counted
  pipe.send("ready")
  while True:
    try:
      count = pipe.recv()
    except EOFError:
      return
    wall, processor = time.perf_counter(), time.process_time()
    run(count)
    pipe.send((time.perf_counter() - wall, time.process_time() - processor))


def describe(rounds: Sequence[Round], *, ours: str, work: float, unit: str):
  """A line for each side: its rate, and ours as a multiple of it.

  Args:
    ours: the name of our side.
    work: units (`unit`) in one piece of work.
  """
  lines = [
    f"{len(rounds)} rounds in turns on {count_cores()} cores; ours / other:"
  ]
  for name in rounds[0].wall:
    rate = statistics.median(work / r.wall[name] for r in rounds)
    line = f"  {name:28} {rate:9,.1f} {unit}/s"
    if name != ours:
      line += f"  {_spread([r.wall[name] / r.wall[ours] for r in rounds])}"
      of_processor = [r.processor[name] / r.processor[ours] for r in rounds]
      line += f", by the processor's time {_spread(of_processor)}"
    lines.append(line)
  return "\n".join(lines)


def _spread(ratios: list[float]) -> str:
  low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
  return f"{middle:.3f} ({low:.3f} to {high:.3f})"
