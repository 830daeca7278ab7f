#!/usr/bin/env bash
# Guess: Restoring into a template of another shape fails, whichever arrays
# the template is made of.
# Seen: Templates of jax.ShapeDtypeStruct are refused; for templates of numpy
# arrays the shape is ignored and the stored one comes back.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-11-29.
# Printed:
#> ShapeDtypeStruct of (4, 3): refused
#> numpy array of (4, 3): restored (2, 3)
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

shape = (4, 3)
templates = {
  "ShapeDtypeStruct": jax.ShapeDtypeStruct(shape, jnp.float32),
  "numpy array": np.zeros(shape, np.float32),
}
with (
  tempfile.TemporaryDirectory() as folder,
  ocp.StandardCheckpointer() as checkpointer,
):
  stored = jnp.zeros((2, 3), jnp.float32)
  checkpointer.save(Path(folder) / "x", {"w": stored})
  checkpointer.wait_until_finished()
  for name, like in templates.items():
    try:
      found = checkpointer.restore(Path(folder) / "x", {"w": like})
      print(f"{name} of {shape}: restored", found["w"].shape)
    except ValueError:
      print(f"{name} of {shape}: refused")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
