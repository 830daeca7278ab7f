#!/usr/bin/env bash
# Guess: Dropout of attention's weights, in Flax's dot_product_attention and its
# modules, draws a mask for each example and each head.
# Seen: By default one mask of queries x keys is drawn, and all examples of the
# batch and all heads drop the same ones (`broadcast_dropout=True`): one draw in
# the place of 32. broadcast_dropout=False draws one for each.
# With: jax 0.10.2, flax 0.12.8, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> by default: 1 masks for 32 heads
#> {'broadcast_dropout': False}: 32 masks for 32 heads
#> MultiHeadDotProductAttention: True
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 flax==0.12.8 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

B, T, H, D = 8, 4, 4, 16
# Every key's value is one of T unit vectors, so the output is the weights.
query_BTHD = jnp.zeros((B, T, H, D))
value_BTHD = jnp.broadcast_to(jnp.eye(T, D)[None, :, None], (B, T, H, D))
for options in ({}, {"broadcast_dropout": False}):
  out_BTHD = nn.dot_product_attention(
    query_BTHD,
    query_BTHD,
    value_BTHD,
    dropout_rng=jax.random.key(0),
    dropout_rate=0.5,
    deterministic=False,
    **options,
  )
  kept_BHTT = np.asarray(out_BTHD[..., :T] > 0).transpose(0, 2, 1, 3)
  masks = {kept.tobytes() for kept in kept_BHTT.reshape(B * H, T, T)}
  print(f"{options or 'by default'}: {len(masks)} masks for {B * H} heads")
module = nn.MultiHeadDotProductAttention(H)
print(f"MultiHeadDotProductAttention: {module.broadcast_dropout}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
