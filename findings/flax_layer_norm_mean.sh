#!/usr/bin/env bash
# Guess: LayerNorm's output has standard deviation 1 in float32, whatever
# constant is added to the input.
# Seen: By default flax takes the variance as E[x^2] - E[x]^2, which cancels:
# with a mean of 4,000 and a deviation of 1 the output is 1,000 times too
# large. use_fast_variance=False is right.
# With: flax 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> mean 0, use_fast_variance=True: 1.0
#> mean 0, use_fast_variance=False: 1.0
#> mean 1000, use_fast_variance=True: 0.9
#> mean 1000, use_fast_variance=False: 1.0
#> mean 4000, use_fast_variance=True: 999.0
#> mean 4000, use_fast_variance=False: 1.0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q flax==0.12.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import flax.linen as nn
import numpy as np

x = np.random.default_rng(0).standard_normal((1, 768)).astype(np.float32)
for mean in (0, 1000, 4000):
  shifted = x + np.float32(mean)
  for fast in (True, False):
    norm = nn.LayerNorm(
      use_fast_variance=fast, use_bias=False, use_scale=False
    )
    deviation = float(np.std(norm.apply({}, shifted)))
    print(f"mean {mean}, use_fast_variance={fast}: {deviation:.1f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
