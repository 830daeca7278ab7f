#!/usr/bin/env bash
# Guess: A compiled step can be written with jax.experimental's
# serialize_executable at any time and wherever it came from, and runs after it
# is read again.
# Seen: On a CPU only as long as it has not run, where it sorts: afterwards it
# is refused. And not where it came from the persistent compilation cache:
# writing and reading raise nothing, the first call does, because a function of
# the program was not written. jax.monitoring's cache_hits tells such a one
# apart.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-02.
# Printed:
#> compiled: cache hits 0, read again, run: the same values
#> compiled, after a call: cannot be written, "not serializable"
#> from the cache: cache hits 1, read again, run: JaxRuntimeError, "not found"
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/start.py" <<'END'
import os
import sys

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "JAX_COMPILATION_CACHE_DIR": sys.argv[1],
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable

hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None
)


def work(x):
  x = jnp.sin(x) * 2 + jnp.cos(x)
  return x @ x + jnp.sort(x, axis=0)


x = np.ones((64, 64), np.float32)
compiled = jax.jit(work).lower(x).compile()
found = len(hits)
again = serialize_executable.deserialize_and_load(
  *serialize_executable.serialize(compiled)
)
try:
  np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(compiled(x)))
  said = "the same values"
except jax.errors.JaxRuntimeError as error:
  said = "JaxRuntimeError" + ', "not found"' * ("not found" in str(error))
print(f"{sys.argv[2]}: cache hits {found}, read again, run: {said}")
if not found:
  try:
    serialize_executable.serialize(compiled)
    said = "is written"
  except jax.errors.JaxRuntimeError as error:
    known = "not serializable" in str(error)
    said = "cannot be written" + ', "not serializable"' * known
  print(f"{sys.argv[2]}, after a call: {said}")
END
cat > "$work/show.py" <<'END'
import subprocess
import sys
from pathlib import Path

here = Path(__file__).parent
for origin in ("compiled", "from the cache"):
  command = [sys.executable, here / "start.py", here / "cache", origin]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  print(done.stdout, end="")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
