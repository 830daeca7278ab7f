#!/usr/bin/env bash
# Guess: optax.adafactor keeps rows' and columns' sums of second moments in the
# place of the moments, so that its state is next to nothing for all large
# kernels.
# Seen: A kernel is only factored where its two largest axes are both at least
# 128 (`min_dim_size_to_factor`). Flax's attention has kernels of width x heads
# x 64: none is factored, and they have a number a parameter, as Adam's second
# moments. With heads of 128 they are factored.
# With: jax 0.10.2, flax 0.12.8, optax 0.2.8, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> Dense, 768 to 3072: 0.003 numbers a parameter
#> attention, 12 heads of 64: 1.000 numbers a parameter
#> attention, 6 heads of 128: 0.010 numbers a parameter
#> attention, 4 heads of 192: 0.008 numbers a parameter
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  jax==0.10.2 flax==0.12.8 optax==0.2.8 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

x = jnp.zeros((1, 4, 768))


def told(name, module):
  params = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
  (state,) = [
    part
    for part in jax.eval_shape(optax.adafactor(1e-3).init, params)
    if hasattr(part, "v_row")
  ]
  moments = (state.v_row, state.v_col, state.v)
  held = sum(leaf.size for leaf in jax.tree.leaves(moments))
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  print(f"{name}: {held / count:.3f} numbers a parameter")


told("Dense, 768 to 3072", nn.Dense(3072))
for heads in (12, 6, 4):
  attention = nn.MultiHeadDotProductAttention(heads)
  told(f"attention, {heads} heads of {768 // heads}", attention)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
