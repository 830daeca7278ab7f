#!/usr/bin/env bash
# Guess: jax.random.categorical of equal logits draws all classes alike; logits
# in bfloat16 cost digits of the probabilities, no more.
# Seen: The noise, too, is drawn in the type of the logits. In bfloat16 it has
# 128 values, so that of 1,000 classes several share the largest, and the
# first of them wins: 86% of the draws are in the first quarter of the classes.
# float16 is skewed likewise. Logits in float32 or mode="high" are right.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> float32, mode low: draws in each quarter of the classes 25% 25% 25% 25%
#> float16, mode low: draws in each quarter of the classes 35% 27% 21% 17%
#> bfloat16, mode low: draws in each quarter of the classes 86% 12% 2% 0%
#> float32, mode high: draws in each quarter of the classes 25% 25% 25% 25%
#> float16, mode high: draws in each quarter of the classes 25% 25% 25% 25%
#> bfloat16, mode high: draws in each quarter of the classes 26% 25% 25% 24%
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

CLASSES, DRAWS = 1000, 20_000
for mode in ("low", "high"):  # low is the default
  for dtype in (jnp.float32, jnp.float16, jnp.bfloat16):
    drawn = jax.random.categorical(
      jax.random.key(0), jnp.zeros(CLASSES, dtype), shape=(DRAWS,), mode=mode
    )
    quarters = np.bincount(np.asarray(drawn) * 4 // CLASSES, minlength=4)
    shares = " ".join(f"{count / DRAWS:.0%}" for count in quarters)
    print(
      f"{dtype.__name__}, mode {mode}: draws in each quarter of the classes",
      shares,
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
