#!/usr/bin/env bash
# Guess: `optax.apply_every(4)` is gradient accumulation, as `MultiSteps` is:
# nothing moves for three steps, then the mean of four gradients counts.
# Seen: It adds the four up, so that SGD's step is four times as long. And in
# front of Adam the three steps between are not empty: Adam is given zeros and
# goes on moving by its momentum, 1.9 times as far in 40 steps as with
# `MultiSteps`.
# With: optax 0.2.8, jax 0.10.2, Python 3.11.7; seen 2026-12-04.
# Printed:
#> sgd, MultiSteps [0.0, 0.0, 0.0, -1.0]
#> sgd, apply_every [0.0, 0.0, 0.0, -4.0]
#> adam, MultiSteps [0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]
#> adam behind apply_every [0.0, 0.0, 0.0, -0.581, -0.491, -0.423, -0.37, -0.581]
#> in 40 steps -10.0 -18.6
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2

cat > "$work/show.py" <<'END'
import jax.numpy as jnp
import optax


def moved(optimizer, steps):
  """Each step's update under a gradient of 1."""
  weights = jnp.zeros(())
  state = optimizer.init(weights)
  updates = []
  for _ in range(steps):
    update, state = optimizer.update(jnp.ones(()), state, weights)
    updates.append(round(float(update), 3) + 0.0)
  return updates


sgd, adam = optax.sgd(1.0), optax.adam(1.0)
print("sgd, MultiSteps", moved(optax.MultiSteps(sgd, 4), 4))
print("sgd, apply_every", moved(optax.chain(sgd, optax.apply_every(4)), 4))
every = optax.chain(optax.apply_every(4), adam)
print("adam, MultiSteps", moved(optax.MultiSteps(adam, 4), 8))
print("adam behind apply_every", moved(every, 8))
print(
  "in 40 steps",
  round(sum(moved(optax.MultiSteps(adam, 4), 40)), 1),
  round(sum(moved(every, 40)), 1),
)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
