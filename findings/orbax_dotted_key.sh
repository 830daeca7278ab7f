#!/usr/bin/env bash
# Guess: A tree with a key 'a.b' and a nested a -> b has two leaves, and both
# come back.
# Seen: Both leaves are stored under one name: save and restore succeed, and
# one value stands in both places.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-11-29.
# Printed:
#> saved    [1.] [2.]
#> restored [2.] [2.]
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
import numpy as np
import orbax.checkpoint as ocp

tree = {"a.b": np.array([1.0]), "a": {"b": np.array([2.0])}}
with (
  tempfile.TemporaryDirectory() as folder,
  ocp.StandardCheckpointer() as checkpointer,
):
  checkpointer.save(Path(folder) / "x", tree)
  checkpointer.wait_until_finished()
  found = checkpointer.restore(Path(folder) / "x", tree)
print("saved   ", tree["a.b"], tree["a"]["b"])
print("restored", found["a.b"], found["a"]["b"])
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
