#!/usr/bin/env bash
# Guess: `jax.device_put` returns a copy, as its documentation says, and always
# with `may_alias=False`: once it is done, a batch buffer can be filled with
# the next batch.
# Seen: On a CPU an array that begins at a multiple of 64 bytes, as in shared
# memory and memory-mapped files, is not copied: what is written there
# afterwards is in the JAX array, too. `may_alias=False` changes nothing. Many
# of numpy's own arrays lie elsewhere and are copied, so that it may show only
# where memory is shared. `jnp.asarray` and `jnp.array` copy, what is large a
# while after they return.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> device_put: [2. 2. 2. 2.]
#> device_put to a sharding: [2. 2. 2. 2.]
#> of process-local data: [2. 2. 2. 2.]
#> device_put, may_alias=False: [2. 2. 2. 2.]
#> jnp.asarray: [1. 1. 1. 1.]
#> jnp.array: [1. 1. 1. 1.]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
from multiprocessing import shared_memory

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np

memory = shared_memory.SharedMemory(create=True, size=4096)
mesh = jax.make_mesh((1,), ("data",))
split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
for name, put in {
  "device_put": jax.device_put,
  "device_put to a sharding": lambda batch: jax.device_put(batch, split),
  "of process-local data": lambda batch: jax.make_array_from_process_local_data(
    split, batch
  ),
  "device_put, may_alias=False": lambda batch: jax.device_put(
    batch, may_alias=False
  ),
  "jnp.asarray": jnp.asarray,
  "jnp.array": jnp.array,
}.items():
  batch = np.ndarray((4,), np.float32, buffer=memory.buf)
  batch[:] = 1
  first = put(batch).block_until_ready()
  batch[:] = 2
  print(f"{name}: {first}")
  del batch, first
memory.close()
memory.unlink()
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
