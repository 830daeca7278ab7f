#!/usr/bin/env bash
# Guess: A step whose metric is NaN (a validation that diverged) never counts
# as the best one.
# Seen: With best_fn and best_mode='max' NaN ranks above every number: the
# step is the best one, and the good step is deleted to keep it.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-11-29.
# Printed:
#> saved step 1, map 0.5: best is 1, kept are [1]
#> saved step 2, map nan: best is 2, kept are [2]
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

os.environ["JAX_PLATFORMS"] = "cpu"
import numpy as np
import orbax.checkpoint as ocp

options = ocp.CheckpointManagerOptions(
  max_to_keep=1, best_fn=lambda metrics: metrics["map"], best_mode="max"
)
with (
  tempfile.TemporaryDirectory() as folder,
  ocp.CheckpointManager(folder, options=options) as manager,
):
  for step, score in ((1, 0.5), (2, float("nan"))):
    tree = {"w": np.full(2, step)}
    args = ocp.args.StandardSave(tree)
    manager.save(step, args=args, metrics={"map": score})
    manager.wait_until_finished()
    print(
      f"saved step {step}, map {score}: best is {manager.best_step()},"
      f" kept are {manager.all_steps()}"
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
