#!/usr/bin/env bash
# Guess: `optax.global_norm` of gradients in bfloat16 is off by the last digit,
# and `clip_by_global_norm(1)` leaves a norm of 1, or a little beside it.
# Seen: Squares are summed within each array with care, but the sums of the
# arrays are added up one after another in bfloat16, where 256 + 1 is 256: from
# 256 arrays of one norm on, nothing more is counted. A transformer of 24
# layers with 384 arrays gets a norm of 16 instead of 19.6 and is clipped to
# 1.2; 1,000 arrays are clipped to 2.
# With: optax 0.2.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> 100 arrays: norm 10.0, in float32 10.0; after clipping to 1: 1.0
#> 256 arrays: norm 16.0, in float32 16.0; after clipping to 1: 1.0
#> 384 arrays: norm 16.0, in float32 19.6; after clipping to 1: 1.2
#> 1000 arrays: norm 16.0, in float32 31.6; after clipping to 1: 2.0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
import optax

clip = optax.clip_by_global_norm(1.0)


def in_float32(arrays):
  return [array.astype(jnp.float32) for array in arrays]


for count in (100, 256, 384, 1000):
  # Of norm 1 each.
  gradients = [jnp.full((16,), 0.25, jnp.bfloat16)] * count
  clipped, _ = clip.update(gradients, clip.init(gradients))
  print(
    f"{count} arrays: norm {float(optax.global_norm(gradients)):.1f},",
    f"in float32 {float(optax.global_norm(in_float32(gradients))):.1f};",
    f"after clipping to 1: {float(optax.global_norm(in_float32(clipped))):.1f}",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
