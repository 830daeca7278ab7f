#!/usr/bin/env bash
# Guess: A program from jax's persistent compilation cache is the one that would
# be compiled now: what differs between the two processes is in its key.
# Seen: Not on a CPU whose cores the processes may use in other numbers (taskset,
# a job's or a container's cpuset). XLA divides loops among the cores of the
# process that compiles; the number is not in the key. What one core compiled is
# found by a process with two, and stays on one; jax warns of nothing.
# Why it matters: runs that are pinned to a core each, side by side, leave
# programs that a later run on all cores takes.
# Instead: a cache folder for each number of cores (os.sched_getaffinity).
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-02. On Linux, with
# two cores or more.
# Printed:
#> cache of two cores: on two cores a hit False, divided by 2
#> cache of one core: on one core a hit False, not divided
#> cache of one core: on two cores a hit True, not divided
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/start.py" <<'END'
import os
import re
import sys

folder, cores = sys.argv[1], int(sys.argv[2])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "JAX_COMPILATION_CACHE_DIR": folder,
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
import jax
import jax.numpy as jnp

hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None
)
x = jax.ShapeDtypeStruct((4096, 4096), jnp.float32)
program = jax.jit(lambda x: jnp.sin(jnp.exp(x) + 1)).lower(x).compile()
divided = re.findall(r'outer_dimension_partitions":\["(\d+)', program.as_text())
said = f"divided by {divided[0]}" if divided else "not divided"
print(f"a hit {bool(hits)}, {said}")
END
cat > "$work/show.py" <<'END'
import subprocess
import sys
from pathlib import Path

here = Path(__file__).parent
names = {1: "one core", 2: "two cores"}
for cache, cores in ((2, 2), (1, 1), (1, 2)):
  command = [sys.executable, here / "start.py", here / str(cache), str(cores)]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  print(f"cache of {names[cache]}: on {names[cores]} {done.stdout}", end="")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
