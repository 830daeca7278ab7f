"""Does what `gpu_check.sh` asks of Python: a timed export, a comparison of two
runs, the table.

python launch/gpu_check.py export|same|table DIR
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

GB = 1e9
LAST = "8"  # step of the two runs


def main() -> int:
  does = {"export": export, "same": same, "table": table}
  return does[sys.argv[1]](Path(sys.argv[2]))


def export(folder: Path) -> int:
  """Exports DIR/data by DIR/run, and writes the rows a second of all batches
  but the first, for which the program is compiled."""
  from item_jax.inference import export as export_lib

  moments: list[tuple[str, float, int]] = []

  class Listener:
    def update(self, stage: str, step: int) -> None:
      moments.append((stage, time.perf_counter(), step))

  gpu = "cpu" not in os.environ.get("JAX_PLATFORMS", "")
  export_lib.export(
    folder / "run",
    data=folder / "data",
    split="train",
    out=folder / "export",
    dtype="bfloat16",
    batch_size=256 if gpu else 8,
    workers=8 if gpu else 0,
    progress=Listener(),
  )
  _, (_, begin, first), *_ = (x for x in moments if x[0] == "step")
  _, end, last = next(x for x in moments if x[0] == "join")
  rate = (last - first) / (end - begin)
  found = {"rows": last, "rows_per_second": rate}
  (folder / "export.json").write_text(json.dumps(found) + "\n")
  return 0


def same(folder: Path) -> int:
  """Returns 1 unless the State of both runs is the same to the bit."""
  import jax
  import numpy as np
  import orbax.checkpoint as ocp

  def state(run: str):
    path = folder / run / "checkpoints" / LAST / "default"
    with ocp.PyTreeCheckpointer() as reader:
      tree = reader.metadata(path).item_metadata.tree
      plain = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
      )
      return jax.tree_util.tree_leaves_with_path(
        reader.restore(path, restore_args=plain)
      )

  text = (folder / "resume.log").read_text()
  resumed = re.findall(r"resumed at step (\d+)", text)
  pairs = list(zip(state("run"), state("resumed"), strict=True))
  odd = [
    jax.tree_util.keystr(path)
    for (path, one), (_, other) in pairs
    if np.asarray(one).tobytes() != np.asarray(other).tobytes()
  ]
  print(f"resumed at {resumed}: {len(pairs)} arrays, {len(odd)} differ: {odd}")
  return 1 if odd or not resumed else 0


def table(folder: Path) -> int:
  """Prints a line for each part and writes DIR/gpu_check.json.

  Returns:
    1 if a part failed, else 0.
  """
  parts = {}
  for line in (folder / "parts.tsv").read_text().splitlines():
    name, code, seconds = line.split("\t")
    parts[name] = {"code": int(code), "seconds": int(seconds)}
  print(f"\n{'part':14} {'s':>4}  ")
  for name, part in parts.items():
    if part["code"]:
      says = "took too long" if part["code"] == 124 else "failed"
      says += f" ({part['code']}): {name}.log"
    else:
      says = describe(name, part, folder)
    print(f"{name:14} {part['seconds']:4}  {says}")
  path = folder / "gpu_check.json"
  path.write_text(json.dumps(parts, indent=1) + "\n")
  print(f"\n{path}")
  return 1 if any(part["code"] for part in parts.values()) else 0


def describe(name: str, part: dict[str, Any], folder: Path) -> str:
  """What a part found, in a line or some; it is added to `part`."""
  if name == "resume":
    part["bitwise"] = True  # or it had failed
    return "a resumed run is bitwise the same"
  path = folder / f"{name}.json"
  if not path.is_file():
    return "done"
  found = json.loads(path.read_text())
  if name == "export":
    part |= found
    return (
      f"{found['rows_per_second']:,.1f} rows/s with decoding, of"
      f" {found['rows']:,} rows"
    )
  if name.startswith("plan_"):
    planned, compiled = found["memory_bytes"]["total"], found.get("compiled")
    part["planned_bytes"] = planned
    says = f"memory {planned / GB:.1f} GB by arithmetic"
    if compiled:
      part["compiled_bytes"] = compiled["arguments"] + compiled["temporary"]
      says += f", {part['compiled_bytes'] / GB:.1f} GB by the compiler (h100)"
    return says
  part |= found
  mfu = f"{found['mfu']:.1%} MFU" if found["mfu"] else "MFU not known"
  lines = [
    f"{found['samples_per_second']:,.1f} samples/s, {mfu},"
    f" {found['peak_memory_bytes'] / GB:.1f} GB at most"
  ]
  for kernel, fraction in found.get("largest_costs", []):
    lines.append(f"{'':19}  {fraction:6.1%}  {kernel}")
  return "\n".join(lines)


if __name__ == "__main__":
  sys.exit(main())
