#!/usr/bin/env bash
# Guess: optax.contrib.muon orthogonalizes the updates of a Transformer's
# matrices, the attention's as those of the MLP, and leaves biases and embedding
# tables to Adam.
# Seen: What is of two axes is a matrix. The kernels of Flax's attention have
# three, one for the heads, and are trained by Adam. The biases of its queries,
# keys and values have two, and are orthogonalized across the heads; so is the
# table of embeddings. `muon_weight_dimension_numbers` states it otherwise.
# With: jax 0.10.2, flax 0.12.8, optax 0.2.8, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> muon: attention key bias (4, 16)
#> muon: attention query bias (4, 16)
#> muon: attention value bias (4, 16)
#> muon: embed embedding (1000, 64)
#> muon: mlp kernel (64, 64)
#> adam: attention key kernel (64, 4, 16)
#> adam: attention out bias (64,)
#> adam: attention out kernel (4, 16, 64)
#> adam: attention query kernel (64, 4, 16)
#> adam: attention value kernel (64, 4, 16)
#> adam: mlp bias (64,)
#> adam: norm bias (64,)
#> adam: norm scale (64,)
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
import optax.contrib
from flax import linen as nn
from flax.traverse_util import flatten_dict


class Model(nn.Module):
  @nn.compact
  def __call__(self, tokens):
    x = nn.Embed(1000, 64, name="embed")(tokens)
    x = x + nn.MultiHeadDotProductAttention(4, name="attention")(x)
    return x + nn.Dense(64, name="mlp")(nn.LayerNorm(name="norm")(x))


tokens = jnp.zeros((1, 4), jnp.int32)
params = Model().init(jax.random.key(0), tokens)["params"]
state = optax.contrib.muon(1e-3).init(params)
for name, inner in state.inner_states.items():
  moments = flatten_dict(inner.inner_state[0].mu, sep=" ")
  taken = {path: m.shape for path, m in moments.items() if hasattr(m, "shape")}
  for path in sorted(taken):
    print(f"{name}: {path} {taken[path]}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
