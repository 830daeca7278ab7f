"""Finds the kernels that took the most time in a trace of jax's profiler."""

import collections
import gzip
import json
from pathlib import Path


def largest_costs(folder: Path, most: int = 3) -> list[tuple[str, float]]:
  """Returns [(kernel, fraction of the device's busy time)], largest first.

  Kernels are named without their numbers, so that the equal kernels of twelve
  layers count as one. Those of a GPU are in its streams, those of a TPU are
  XLA's operations; on a CPU, which has no kernels, the operations of XLA's
  threads are counted. Empty where the trace has none of these.

  Args:
    folder: that `jax.profiler.trace` wrote.
    most: how many.
  """
  traces = sorted(Path(folder).rglob("*.trace.json.gz"))
  if not traces:
    return []
  with gzip.open(traces[-1], "rt") as file:
    events = json.load(file)["traceEvents"]
  process = {}
  thread = {}
  for event in events:
    if event.get("ph") == "M" and event["name"] == "process_name":
      process[event["pid"]] = event["args"]["name"]
    if event.get("ph") == "M" and event["name"] == "thread_name":
      thread[event["pid"], event["tid"]] = event["args"]["name"]
  on_device = any("/device:" in name for name in process.values())
  lanes = {
    at: lane
    for at, lane in thread.items()
    if "/device:" in process.get(at[0], "")
  }
  # A GPU also has a lane of operations: the same work as in its streams.
  kernels = {at for at, lane in lanes.items() if "Stream" in lane}
  kernels = kernels or {at for at, lane in lanes.items() if lane == "XLA Ops"}
  total = collections.Counter()
  for event in events:
    if event.get("ph") != "X":
      continue
    if on_device:
      counts = (event["pid"], event["tid"]) in kernels
    else:
      counts = "hlo_op" in event.get("args", {})
    if counts:
      total[_family(event["name"])] += event["dur"]
  busy = sum(total.values())
  return [(name, time / busy) for name, time in total.most_common(most)]


def _family(name: str) -> str:
  """A kernel's name without its number: "fusion" of "fusion.123"."""
  return name.rstrip("0123456789._") or name
