#!/usr/bin/env bash
# Guess: A warm-up of 0 steps is none: the rate is the peak from the start.
# Seen: `linear_schedule` and `warmup_constant_schedule` stay at the initial
# value for ever: at a rate of 0 nothing is learned. It is logged at the level
# of info, which is not shown. `warmup_cosine_decay_schedule` starts at the
# peak.
# With: optax 0.2.8, jax 0.10.2, Python 3.11.7; seen 2026-12-03.
# Printed:
#> linear_schedule, warm-up of 100: rates 0, 1e-05, 0.001
#> linear_schedule, warm-up of 1: rates 0, 0.001, 0.001
#> linear_schedule, warm-up of 0: rates 0, 0, 0
#> warmup_constant_schedule, warm-up of 100: rates 0, 1e-05, 0.001
#> warmup_constant_schedule, warm-up of 1: rates 0, 0.001, 0.001
#> warmup_constant_schedule, warm-up of 0: rates 0, 0, 0
#> warmup_cosine_decay_schedule, warm-up of 100: rates 0, 1e-05, 0.00098
#> warmup_cosine_decay_schedule, warm-up of 1: rates 0, 0.001, 0.000976
#> warmup_cosine_decay_schedule, warm-up of 0: rates 0.001, 0.001, 0.000976
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import optax

SCHEDULES = {
  "linear_schedule": lambda w: optax.linear_schedule(0.0, 1e-3, w),
  "warmup_constant_schedule": lambda w: optax.warmup_constant_schedule(
    0.0, 1e-3, w
  ),
  "warmup_cosine_decay_schedule": lambda w: optax.warmup_cosine_decay_schedule(
    0.0, 1e-3, w, 10_000
  ),
}
for name, make in SCHEDULES.items():
  for warmup in (100, 1, 0):
    rates = [f"{float(make(warmup)(step)):.3g}" for step in (0, 1, 1000)]
    print(f"{name}, warm-up of {warmup}: rates {', '.join(rates)}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
