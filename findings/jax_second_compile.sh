#!/usr/bin/env bash
# Guess: A training step is compiled once: its state goes in and out with the
# same shapes, and the parameters were laid out over the mesh before
# `optimizer.init`.
# Seen: `init` gives the moments the parameters' layout, but makes its counts
# on one device. The first step returns them spread over the mesh: to jit other
# arguments, and the second step compiles the whole program again. Laying the
# optimizer's state out over the mesh, too, saves it.
# With: jax 0.10.2, optax 0.2.8, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> devices of the moments: 4
#> devices of the count: 1
#> compiled in steps: [1, 1, 0, 0]
#> laid out over the mesh: [1, 0, 0, 0]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 optax==0.2.8 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
}
import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

mesh = jax.make_mesh((4,), ("data",))
everywhere = NamedSharding(mesh, P())
batch = jax.device_put(jnp.ones((8, 16)), NamedSharding(mesh, P("data")))
optimizer = optax.adamw(1e-3)
compiled = 0


def count(event, seconds, **_):
  global compiled
  compiled += event == "/jax/core/compile/backend_compile_duration"


def compiled_in(state):
  global compiled

  @jax.jit
  def step(weights, state, batch):
    gradient = jax.grad(lambda w: jnp.mean((batch @ w) ** 2))(weights)
    updates, state = optimizer.update(gradient, state, weights)
    return optax.apply_updates(weights, updates), state

  carry, found = (weights, state), []
  for _ in range(4):
    compiled = 0
    carry = step(*carry, batch)
    found.append(compiled)
  return found


jax.monitoring.register_event_duration_secs_listener(count)
weights = jax.device_put(jnp.ones((16, 16)), everywhere)
state = optimizer.init(weights)
print("devices of the moments:", len(state[0].mu.sharding.device_set))
print("devices of the count:", len(state[0].count.sharding.device_set))
print("compiled in steps:", compiled_in(state))
state = jax.device_put(state, everywhere)
print("laid out over the mesh:", compiled_in(state))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
