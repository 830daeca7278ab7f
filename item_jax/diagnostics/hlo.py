"""Reads compiled programs: what they send between chips, and how."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
_BITS = re.compile(r"[a-z]+(\d+)")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
# NAME = TYPE OPCODE(OPERANDS), ATTRIBUTES
_LINE = re.compile(r"\s*(?:ROOT )?(%?[\w.-]+) = (.+?) ([a-z][a-z0-9-]*)\((.*)")
_HEAD = re.compile(r"(ENTRY )?(%?[\w.-]+) .*\{$")
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|true_computation|false_computation)="
  r"(%?[\w.-]+)|branch_computations=\{([^}]*)\}"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_FUSED_ATTENTION = ("__cudnn$fmha", "tpu_custom_call")


class Collective(NamedTuple):
  """Messages of one kind that a step sends."""

  kind: str  # of KINDS
  dtype: str  # as XLA calls it: "f32"; "f32+s32" of several
  asynchronous: bool  # whether other work may run meanwhile
  messages: int
  bytes: int  # of the whole arrays, on one chip, all of them together


class Program(NamedTuple):
  """What a program's text says."""

  collectives: list[Collective]  # the largest first
  attention: int  # calls of fused attention, forward and backward


class _Operation(NamedTuple):
  shape: str  # of the result
  code: str
  rest: str  # operands and attributes


def read_program(text: str) -> Program:
  """Reads an optimised program, as `compiled.as_text()` gives it.

  A loop's body counts as often as the loop runs, where its text says so.
  """
  bodies, entry = _computations(text)
  times, begun = _times(bodies, entry), _begun(bodies)
  # TPUs spread one message over several fusions, which compute meanwhile; all
  # of them name its channel.
  channels: dict[Any, list[tuple]] = {}
  attention = 0
  for name, operations in bodies.items():
    for one in operations:
      if one.code == "custom-call":
        target = _TARGET.search(one.rest)
        if target and target[1].startswith(_FUSED_ATTENTION):
          attention += times[name]
      found = _collective(one)
      if found and times[name]:
        channel = _CHANNEL.search(one.rest)
        apart = one.code.endswith("-start") or name in begun
        same = channels.setdefault(channel[1] if channel else object(), [])
        same.append((*found, apart, times[name]))
  counts, sizes = Counter(), Counter()
  for same in channels.values():
    kind, dtype, size, apart, runs = same[0]
    key = (kind, dtype, apart or len(same) > 1)
    counts[key] += runs
    sizes[key] += runs * size
  found = [
    Collective(
      *(kind, dtype, apart),
      messages=counts[kind, dtype, apart],
      bytes=sizes[kind, dtype, apart],
    )
    for kind, dtype, apart in counts
  ]
  return Program(sorted(found, key=lambda one: -one.bytes), attention)


def _arrays(shape: str) -> Iterator[tuple[str, int]]:
  """Types and bytes of an array's or a tuple's text: "(f32[2,3], pred[])"."""
  for dtype, dims in _ARRAY.findall(shape):
    bits = _BITS.match(dtype)
    size = int(bits[1]) if bits else 8  # pred
    yield dtype, math.prod(map(int, filter(None, dims.split(",")))) * size // 8


def _collective(one: _Operation) -> tuple[str, str, int] | None:
  """(kind, type, bytes) of an operation that sends; None of others.

  Of the whole array: what an all-gather gives, and what a reduce-scatter is
  given; for the others both are the same.
  """
  kind = one.code.removesuffix("-start")
  if kind not in KINDS:
    return None
  arrays = list(_arrays(one.shape))
  if one.code.endswith("-start"):
    arrays = _results(kind, one.shape, arrays)
  size = sum(size for _, size in arrays)
  if kind == "reduce-scatter":
    size *= _group_size(one.rest)
  return kind, "+".join(sorted({dtype for dtype, _ in arrays})), size


def _results(kind: str, shape: str, arrays: list) -> list:
  """Of what a start gives, the result: the operands stand before it."""
  if kind == "all-reduce" or not shape.startswith("("):
    return arrays  # the results alone
  if kind == "collective-permute":
    return arrays[1:2]  # operand, result, and two that count
  return arrays[len(arrays) // 2 :]


def _group_size(rest: str) -> int:
  """How many chips share: replica_groups={{0,1},{2,3}} or =[2,2]<=[4]."""
  if match := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
    return int(match[1])
  if match := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
    return match[1].count(",") + 1
  return 1


def _computations(text: str) -> tuple[dict[str, list[_Operation]], str]:
  """Returns ({name: its operations}, the name of the one that is run)."""
  bodies: dict[str, list[_Operation]] = {}
  entry, current = "", None
  for line in text.splitlines():
    if current is None:
      if head := _HEAD.match(line):
        current = bodies.setdefault(head[2].lstrip("%"), [])
        entry = head[2].lstrip("%") if head[1] else entry
    elif line.startswith("}"):
      current = None
    elif match := _LINE.match(line):
      current.append(_Operation(match[2], match[3], match[4]))
  return bodies, entry


def _called(one: _Operation) -> list[str]:
  found = []
  for single, several in _CALLED.findall(one.rest):
    found += [single] if single else several.split(",")
  return [name.strip().lstrip("%") for name in found]


def _times(bodies: dict[str, list[_Operation]], entry: str) -> Counter:
  """How often each computation runs in one run of the program."""
  times = Counter({entry: 1})
  # A callee stands before its callers.
  for name in reversed(bodies):
    for one in bodies[name]:
      trips = _TRIPS.search(one.rest) if one.code == "while" else None
      for called in _called(one):
        times[called] += times[name] * (int(trips[1]) if trips else 1)
  return times


def _begun(bodies: dict[str, list[_Operation]]) -> set[str]:
  """The computations that run beside others: those of async-start."""
  return {
    name
    for operations in bodies.values()
    for one in operations
    if one.code == "async-start"
    for name in _called(one)
  }
