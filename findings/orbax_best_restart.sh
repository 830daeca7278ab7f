#!/usr/bin/env bash
# Guess: With best_fn and max_to_keep a `CheckpointManager` keeps the best steps
# beside the latest, as of a run that may be stopped and started again.
# Seen: It keeps the best ones alone: a new step that is none of them is deleted
# as soon as it is written, though save() says True, and `latest_step()` is an
# earlier one. A run that is stopped begins again at one of its best steps, and
# where those that follow are worse, as after a new warmup, it comes no further
# however often it is started. A preservation_policy of BestN and LatestN keeps
# both.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-03.
# Printed:
#> best_fn, start 1: begins at 0, saved [1, 2, 3, 4, 5], kept [2, 3]
#> best_fn, start 2: begins at 3, saved [4, 5, 6, 7, 8], kept [2, 3]
#> best_fn, start 3: begins at 3, saved [4, 5, 6, 7, 8], kept [2, 3]
#> BestN and LatestN, start 1: begins at 0, saved [1, 2, 3, 4, 5], kept [2, 3, 5]
#> BestN and LatestN, start 2: begins at 5, saved [6, 7, 8, 9, 10], kept [2, 3, 10]
#> BestN and LatestN, start 3: begins at 10, saved [11, 12, 13, 14, 15], kept [2, 3, 15]
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
from orbax.checkpoint import checkpoint_managers as kept


def score(metrics):
  return metrics["map"]


BOTH = kept.AnyPreservationPolicy(
  [kept.BestN(get_metric_fn=score, n=2), kept.LatestN(n=1)]
)
OPTIONS = {
  "best_fn": {"best_fn": score, "max_to_keep": 2},
  "BestN and LatestN": {"best_fn": score, "preservation_policy": BOTH},
}


def start(folder, options):
  """Trains for five steps from the latest one; the third is the best."""
  options = ocp.CheckpointManagerOptions(**options)
  with ocp.CheckpointManager(folder, options=options) as manager:
    begin = manager.latest_step() or 0
    saved = []
    for step in range(begin + 1, begin + 6):
      args = ocp.args.StandardSave({"w": np.full(2, step)})
      metrics = {"map": 0.5 - abs(step - 2.9) / 100}
      if manager.save(step, args=args, metrics=metrics):
        saved.append(step)
    manager.wait_until_finished()
    return f"begins at {begin}, saved {saved}, kept {manager.all_steps()}"


for name, options in OPTIONS.items():
  with tempfile.TemporaryDirectory() as folder:
    for number in (1, 2, 3):
      print(f"{name}, start {number}: {start(folder, options)}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
