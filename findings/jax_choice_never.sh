#!/usr/bin/env bash
# Guess: jax.random.choice with equal probabilities p draws every class alike,
# as without p; in float32 the probabilities are rounded, no more.
# Seen: With p a class is looked up for a uniform float32, which has 2^23
# values. Of 2^24 classes those in even places are never drawn, and the others
# twice as often; of 2^25 at most a quarter can be. There is no error and no
# warning. Without p, or up to 2^23 classes, all are drawn.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> 4194304 classes, with p: 25% 25% 25% 25%
#> 4194304 classes, without: 25% 25% 25% 25%
#> 8388608 classes, with p: 25% 25% 25% 25%
#> 8388608 classes, without: 25% 25% 25% 25%
#> 16777216 classes, with p: 0% 50% 0% 50%
#> 16777216 classes, without: 25% 25% 25% 25%
#> 33554432 classes, with p: 0% 0% 50% 50%
#> 33554432 classes, without: 25% 25% 25% 25%
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

DRAWS = 1_000_000
key = jax.random.key(0)
for size in (2**22, 2**23, 2**24, 2**25):
  p = jnp.full(size, 1 / size)
  for name, drawn in (
    ("with p", jax.random.choice(key, size, (DRAWS,), p=p)),
    ("without", jax.random.choice(key, size, (DRAWS,))),
  ):
    # Which classes of each four are drawn, by their place in it.
    share_4 = np.bincount(np.asarray(drawn) % 4, minlength=4) / DRAWS
    told = " ".join(f"{share:.0%}" for share in share_4)
    print(f"{size} classes, {name}: {told}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
