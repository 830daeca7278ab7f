#!/usr/bin/env bash
# Guess: numpy takes the mean of a bfloat16 array, as `np.asarray` makes of a
# JAX array, as it does of float16 and as `jnp.mean` does: summed in float32,
# rounded once.
# Seen: numpy adds the numbers up in bfloat16, one after another, where 256 + 1
# is 256: the mean of 4,096 ones is 0.0625 and their deviation 0.25, without a
# warning; so it is of losses, or of each column of vectors, and of `sum`,
# `cumsum` and `average`. Only where it is given dtype=np.float32 it is right.
# With: jax 0.10.2, ml_dtypes 0.6.0, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-03.
# Printed:
#> ones: mean 0.0625, float16 1, jnp.mean 1, with dtype 1
#> ones: deviation 0.25, float16 0, jnp.std 0, with dtype 0
#> columns of 4,000 vectors about 3: mean 0.512, jnp.mean 3, with dtype 3
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 ml_dtypes==0.6.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
import numpy as np

ones = np.asarray(jnp.ones(4_096, jnp.bfloat16))
print(
  f"ones: mean {float(ones.mean())}, float16",
  f"{ones.astype(np.float16).mean():g},",
  f"jnp.mean {float(jnp.mean(ones)):g},",
  f"with dtype {ones.mean(dtype=np.float32):g}",
)
print(
  f"ones: deviation {float(ones.std())}, float16",
  f"{ones.astype(np.float16).std():g},",
  f"jnp.std {float(jnp.std(ones)):g},",
  f"with dtype {ones.std(dtype=np.float32):g}",
)
vectors = np.random.default_rng(0).normal(3, 1, (4_000, 8))
vectors = np.asarray(jnp.asarray(vectors, jnp.bfloat16))
print(
  f"columns of {len(vectors):,} vectors about 3:",
  f"mean {float(vectors.mean(0).max()):.3f},",
  f"jnp.mean {float(jnp.mean(vectors, 0).max()):.0f},",
  f"with dtype {vectors.mean(0, dtype=np.float32).max():.0f}",
)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
