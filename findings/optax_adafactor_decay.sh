#!/usr/bin/env bash
# Guess: `weight_decay_rate` of `optax.adafactor` is what `weight_decay` of
# `optax.adamw` is: multiplied by the learning rate, so that it follows its
# warmup and its decay.
# Seen: It is applied after the learning rate and not scaled by it: 0.01 takes
# a hundredth of every weight in every step, at any rate, and at a rate of 0 as
# well. At a rate of 0.001 a thousand steps leave 0.00004 of a weight without
# gradient, where adamw leaves 0.99.
# With: optax 0.2.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> adamw, rate 0.0: 1 left
#> lion, rate 0.0: 1 left
#> adafactor, rate 0.0: 4.3e-05 left
#> adamw, rate 0.001: 0.99 left
#> lion, rate 0.001: 0.99 left
#> adafactor, rate 0.001: 4.3e-05 left
#> adamw, rate 0.01: 0.9 left
#> lion, rate 0.01: 0.9 left
#> adafactor, rate 0.01: 4.3e-05 left
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import optax

kinds = {
  "adamw": lambda rate: optax.adamw(rate, weight_decay=0.01),
  "lion": lambda rate: optax.lion(rate, weight_decay=0.01),
  "adafactor": lambda rate: optax.adafactor(rate, weight_decay_rate=0.01),
}


def trained(optimizer, steps=1000):
  weights = jnp.ones((128, 128))
  state = optimizer.init(weights)

  def step(_, carry):
    weights, state = carry
    none = jnp.zeros_like(weights)
    updates, state = optimizer.update(none, state, weights)
    return optax.apply_updates(weights, updates), state

  return jax.lax.fori_loop(0, steps, step, (weights, state))[0]


for rate in (0.0, 1e-3, 1e-2):
  for name, kind in kinds.items():
    left = float(trained(kind(rate))[0, 0])
    print(f"{name}, rate {rate}: {left:.2g} left")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
