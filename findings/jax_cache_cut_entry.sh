#!/usr/bin/env bash
# Guess: An entry of jax's persistent compilation cache that was cut off, as by
# a full disk, is compiled once more and then replaced.
# Seen: It is compiled again at every start, with a warning each time, and the
# cut entry stays: what exists is not written again. Deleting it helps.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> start 1: hits 0, warnings 0
#> start 2: hits 1, warnings 0
#> start 3: hits 0, warnings 1, bytes 100
#> start 4: hits 0, warnings 1, bytes 100
#> start 5: hits 0, warnings 0
#> start 6: hits 1, warnings 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/start.py" <<'END'
import os
import sys
import warnings

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "JAX_COMPILATION_CACHE_DIR": sys.argv[1],
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
import jax
import numpy as np

hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None
)
with warnings.catch_warnings(record=True) as caught:
  warnings.simplefilter("always")
  jax.jit(lambda x: x * 2 + 1)(np.ones(8, np.float32)).block_until_ready()
print(f"hits {len(hits)}, warnings {len(caught)}")
END
cat > "$work/show.py" <<'END'
import os
import subprocess
import sys
from pathlib import Path

here = Path(__file__).parent


def start() -> str:
  command = [sys.executable, here / "start.py", here / "cache"]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return done.stdout.strip()


print("start 1:", start())
print("start 2:", start())
(entry,) = (here / "cache").glob("*-cache")
os.truncate(entry, 100)
print("start 3:", start() + f", bytes {entry.stat().st_size}")
print("start 4:", start() + f", bytes {entry.stat().st_size}")
entry.unlink()
print("start 5:", start())
print("start 6:", start())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
