"""Reads a profiler's trace: a folder of `jax.profiler.trace` in, the kernels
that took the most time out."""

import collections
import gzip
import json
from pathlib import Path


def largest_costs(folder: Path, most: int = 3) -> list[tuple[str, float]]:
  """[(kernel, share of the device's busy time)], the largest first.

  Kernels are named without their numbers, so that the twelve layers' equal
  kernels count as one. A GPU's are those of its streams, a TPU's XLA's
  operations; on a CPU, where there are no kernels, the operations of XLA's
  threads are counted. Empty where the trace has none of these.
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
  # A GPU has a lane of operations too, beside its streams: the same work again.
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
  """ "fusion.123" and "loop_fusion_7" by their kind."""
  return name.rstrip("0123456789._") or name
