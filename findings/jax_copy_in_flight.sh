#!/usr/bin/env bash
# Guess: `jnp.array(x)` copies by default, always with `copy=True`: once it has
# returned, x may be filled with the next batch; and a compiled function that
# is called with x computes with what x held at the call.
# Seen: On a CPU it returns before a large array is copied, as do `jnp.asarray`
# and a compiled function: what is written to x meanwhile is in the JAX array,
# too, in part of it. 80 MB are torn each time, 4 MB now and then, a small test
# sees nothing. Wait with `block_until_ready`, or hand over `x.copy()`.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> 1,000 numbers, jnp.array: as of the call True
#> 1,000 numbers, jnp.array, copy=True: as of the call True
#> 1,000 numbers, jnp.asarray: as of the call True
#> 1,000 numbers, jnp.array, block_until_ready: as of the call True
#> 20,000,000 numbers, jnp.array: as of the call False
#> 20,000,000 numbers, jnp.array, copy=True: as of the call False
#> 20,000,000 numbers, jnp.asarray: as of the call False
#> 20,000,000 numbers, jnp.array, block_until_ready: as of the call True
#> 20,000,000 numbers, compiled: as of the call False
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np

CALLS = {
  "jnp.array": jnp.array,
  "jnp.array, copy=True": lambda x: jnp.array(x, copy=True),
  "jnp.asarray": jnp.asarray,
  "jnp.array, block_until_ready": lambda x: jnp.array(x).block_until_ready(),
}


def whole(call, size):
  call(np.zeros(size, np.float32))  # compiled before it is looked at
  for _ in range(10):
    x = np.zeros(size, np.float32)
    array = call(x)
    x[:] = 1  # the next batch
    if np.asarray(array).any():
      return False
  return True


for size in (1_000, 20_000_000):
  for name, call in CALLS.items():
    print(f"{size:,} numbers, {name}: as of the call {whole(call, size)}")
compiled = whole(jax.jit(jnp.sum), size)
print(f"{size:,} numbers, compiled: as of the call {compiled}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
