#!/usr/bin/env bash
# Guess: On a CPU jax.lax.top_k takes about the same time for all types: for
# scores in bfloat16 half of the memory is read.
# Seen: Only float32 has a kernel of its own. In bfloat16, float16 and int32
# whole rows are sorted, which takes more than 30 times as long (some 300 times
# where it was seen). Cast to float32 first, which changes no bfloat16, they
# take what float32 takes and give the same hits.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> bfloat16: more than 30 times the time of float32: True; cast to float32 first: False, the same hits True
#> float16: more than 30 times the time of float32: True; cast to float32 first: False, the same hits True
#> int32: more than 30 times the time of float32: True; cast to float32 first: False, the same hits True
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import time

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp

scores = jax.random.normal(jax.random.key(0), (8, 100_000))
top = jax.jit(lambda scores: jax.lax.top_k(scores, 10))
cast = jax.jit(lambda scores: jax.lax.top_k(scores.astype(jnp.float32), 10))


def seconds(find, scores):
  jax.block_until_ready(find(scores))
  taken = []
  for _ in range(5):
    begun = time.perf_counter()
    jax.block_until_ready(find(scores))
    taken.append(time.perf_counter() - begun)
  return min(taken)


base = seconds(top, scores)
for dtype in ("bfloat16", "float16", "int32"):
  found = (scores * 1000).astype(dtype)
  same = (top(found)[1] == cast(found)[1]).all()
  print(
    f"{dtype}: more than 30 times the time of float32:",
    f"{seconds(top, found) > 30 * base};",
    f"cast to float32 first: {seconds(cast, found) > 30 * base},",
    f"the same hits {same}",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
