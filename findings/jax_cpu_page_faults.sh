#!/usr/bin/env bash
# Guess: On a CPU, a compiled function of jax that is called again and again
# works in the memory that its last call left: only the first call has to ask
# the system for pages.
# Seen: The temporary arrays are taken by malloc at each call and freed after it.
# glibc (2.36) gives blocks of that size back to the system, so that every call has all
# of its pages found and zeroed anew. Two of malloc's options do not help here:
# the threads that compute have heaps of their own, of 64 MB at most. With one
# heap for all threads the pages stay, and the results are the same.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-11-30.
# Printed:
#> as it comes: pages are asked for at every call: True
#> no mmap, no trim: pages are asked for at every call: True
#> no mmap, no trim, one arena: pages are asked for at every call: False
#> the results are equal: True
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import hashlib
import os
import resource
import subprocess
import sys

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "99999999999"}
CASES = {
  "as it comes": {},
  "no mmap, no trim": KEPT,
  "no mmap, no trim, one arena": KEPT | {"MALLOC_ARENA_MAX": "1"},
}


def measure() -> None:
  import jax
  import jax.numpy as jnp
  import numpy as np

  def loss(weights, x):
    for w in weights:  # each layer's output is kept for the gradient
      x = jnp.tanh(x @ w)
    return (x * x).mean()

  rng = np.random.default_rng(0)
  weights = [jnp.asarray(rng.normal(size=(256, 256)) / 16, jnp.float32)] * 20
  x = jnp.asarray(rng.normal(size=(8192, 256)), jnp.float32)
  step = jax.jit(jax.grad(loss))
  for _ in range(5):
    found = jax.block_until_ready(step(weights, x))
  calls, before = 10, resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(calls):
    found = jax.block_until_ready(step(weights, x))
  asked = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
  # Of 8 MB for each of 20 layers, in pages of 4 KB.
  print(asked / calls > 10_000)
  print(hashlib.sha256(np.stack(found).tobytes()).hexdigest())


def main() -> None:
  plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
  results = set()
  for name, options in CASES.items():
    asked, result = subprocess.check_output(
      [sys.executable, __file__, "measure"],
      env=plain | options | {"JAX_PLATFORMS": "cpu"},
      text=True,
    ).split()
    print(f"{name}: pages are asked for at every call: {asked}")
    results.add(result)
  print("the results are equal:", len(results) == 1)


measure() if sys.argv[1:] else main()
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
