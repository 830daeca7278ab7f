#!/usr/bin/env bash
# Guess: A run that goes back to an earlier step and trains on from there has
# its new steps saved, or an error where later steps are in the folder already.
# Seen: save() of a step before the latest one does nothing, without a warning:
# only its result, False, tells. With force=True it saves, and the step is the
# latest one until the folder is opened anew. Then a step of the abandoned run
# is the latest again: a restart trains on from that, and max_to_keep deletes
# the new steps before it.
# With: orbax-checkpoint 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> a first run: latest None, saved [100, 200, 300], kept [100, 200, 300]
#> back at 100: latest 300, saved [], kept [100, 200, 300]
#> back at 100, forced: latest 300, saved [110, 120], kept [300, 110, 120]
#> a restart: latest 300, saved [310], kept [120, 300, 310]
#> warnings: 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import logging
import os
import tempfile
import warnings
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
import orbax.checkpoint as ocp

told = []


class Keep(logging.Handler):
  def emit(self, record) -> None:
    told.append(record)


def train(folder, name, steps, **options) -> None:
  kept = ocp.CheckpointManagerOptions(max_to_keep=3)
  with ocp.CheckpointManager(folder, options=kept) as manager:
    latest, saved = manager.latest_step(), []
    for step in steps:
      state = ocp.args.StandardSave({"w": jnp.full(3, step)})
      if manager.save(step, args=state, **options):
        saved.append(step)
      manager.wait_until_finished()
    print(f"{name}: latest {latest}, saved {saved}, kept {manager.all_steps()}")


logging.getLogger("absl").addHandler(Keep(logging.WARNING))
with (
  tempfile.TemporaryDirectory() as folder,
  warnings.catch_warnings(record=True) as caught,
):
  warnings.simplefilter("always")
  path = Path(folder) / "steps"
  train(path, "a first run", [100, 200, 300])
  told.clear()
  caught.clear()
  train(path, "back at 100", [110, 120])
  train(path, "back at 100, forced", [110, 120], force=True)
  train(path, "a restart", [310])
  print("warnings:", len(told) + len(caught))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
