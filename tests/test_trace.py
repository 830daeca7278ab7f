"""What a trace says of the device's time, on each kind of device."""

import gzip
import json

from item_jax.diagnostics.trace import largest_costs


def name(what: str, said: str, **where) -> dict:
  return {"ph": "M", "name": what, "args": {"name": said}, "pid": 3, **where}


def work(tid: int, name: str, microseconds: int) -> dict:
  return {"ph": "X", "pid": 3, "tid": tid, "name": name, "dur": microseconds}


def trace(folder, events):
  folder.mkdir()
  with gzip.open(folder / "t.trace.json.gz", "wt") as file:
    json.dump({"traceEvents": events}, file)
  return folder


def test_the_largest_costs_of_a_tpus_trace(tmp_path):
  """A TPU has no streams; modules, and what runs beside, count no time."""
  lanes = ["Steps", "XLA Modules", "XLA Ops", "Async XLA Ops"]
  events = [name("process_name", "/device:TPU:0")]
  events += [name("thread_name", lane, tid=i) for i, lane in enumerate(lanes)]
  events += [work(1, "jit_step", 100), work(3, "copy-start", 80)]
  assert largest_costs(trace(tmp_path / "empty", events)) == []
  events += [work(2, "fusion.1", 30), work(2, "fusion.2", 45)]
  events += [work(2, "copy.3", 25)]
  found = largest_costs(trace(tmp_path / "full", events))
  assert found == [("fusion", 0.75), ("copy", 0.25)]
