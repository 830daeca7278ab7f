#!/usr/bin/env bash
# Guess: Where a template's dtype is not that of the checkpoint, Orbax says so,
# or casts parameters alone.
# Seen: Every array is cast without a word, as numpy casts. A template made
# bfloat16 by `jax.tree.map` rounds the optimizer's count of steps 1,001 to
# 1,000 and the key of the random numbers to another one; a float16 template
# makes inf of what is large, an int8 one 44 of 300.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, Python 3.11.7; seen 2026-12-04.
# Printed:
#> as saved: kernel [1.5, 70000.0], count 1001.0, key [0.0, 1234567.0], rows 300.0 ; 0 warnings
#> bfloat16: kernel [1.5, 70144.0], count 1000.0, key [0.0, 1236992.0], rows 300.0 ; 0 warnings
#> float16: kernel [1.5, inf], count 1001.0, key [0.0, inf], rows 300.0 ; 0 warnings
#> int8: kernel [1.0, 112.0], count -23.0, key [0.0, -121.0], rows 44.0 ; 0 warnings
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q orbax-checkpoint==0.12.8 jax==0.10.2

cat > "$work/show.py" <<'END'
import pathlib
import tempfile
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

state = {
  "kernel": jnp.float32([1.5, 7e4]),
  "count": jnp.int32(1001),
  "key": jax.random.key_data(jax.random.key(1234567)),
  "rows": jnp.int32(300),
}
folder = pathlib.Path(tempfile.mkdtemp()) / "state"
with ocp.StandardCheckpointer() as saver:
  saver.save(folder, state)
  saver.wait_until_finished()
  for dtype in (None, jnp.bfloat16, jnp.float16, jnp.int8):
    template = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype), state
    )
    with warnings.catch_warnings(record=True) as said:
      warnings.simplefilter("always")
      read = saver.restore(folder, template)
    print(
      "as saved:" if dtype is None else f"{jnp.dtype(dtype).name}:",
      ", ".join(
        f"{name} {np.asarray(read[name], np.float64).tolist()}"
        for name in ("kernel", "count", "key", "rows")
      ),
      f"; {len(said)} warnings",
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
