#!/usr/bin/env bash
# Guess: `cost_analysis()` of a compiled model counts the operations of all its
# layers, whether they are written out or scanned: a ground for utilisation
# figures.
# Seen: What is within a `jax.lax.scan` counts once, however often it runs: 12
# scanned layers are said to cost one, and Flax's `tabulate` says the same of
# `nn.scan`.
# With: jax 0.10.2, flax 0.12.8, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> 1 unrolled: flops of 1.0 layers
#> 1 scanned: flops of 1.0 layers
#> 12 unrolled: flops of 12.0 layers
#> 12 scanned: flops of 1.0 layers
#> 1 by nn.scan, tabulate: flops of 1.0 layers
#> 12 by nn.scan, tabulate: flops of 1.0 layers
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 flax==0.12.8 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import re

os.environ["JAX_PLATFORMS"] = "cpu"
import flax.linen as nn
import jax
import jax.numpy as jnp

WIDTH, ROWS = 64, 8
LAYER = 2 * ROWS * WIDTH**2
x = jnp.zeros((ROWS, WIDTH))


def layer(x, weight):
  return x @ weight, None


def scanned(weights, x):
  return jax.lax.scan(layer, x, weights)[0]


def unrolled(weights, x):
  for weight in weights:
    x, _ = layer(x, weight)
  return x


for layers in (1, 12):
  weights = jnp.zeros((layers, WIDTH, WIDTH))
  for run in (unrolled, scanned):
    costs = jax.jit(run).lower(weights, x).compile().cost_analysis()
    flops = costs["flops"] / LAYER
    print(f"{layers} {run.__name__}: flops of {flops:.1f} layers")


class Layer(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    return nn.Dense(WIDTH, use_bias=False)(x), None


for layers in (1, 12):
  scan = nn.scan(
    Layer,
    variable_axes={"params": 0},
    split_rngs={"params": True},
    length=layers,
  )
  table = scan().tabulate(
    jax.random.key(0), x, None, compute_flops=True, depth=0
  )
  flops = int(re.search(r" (\d+) ", table.split("float32")[-1])[1])
  print(f"{layers} by nn.scan, tabulate: flops of {flops / LAYER:.1f} layers")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
