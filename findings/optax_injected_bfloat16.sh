#!/usr/bin/env bash
# Guess: optax.inject_hyperparams(optax.adam)(1e-3) steps as optax.adam(1e-3)
# does, whatever the type of the parameters.
# Seen: What is injected is cast to the type of the parameters. b2=0.999 is 1.0
# in bfloat16, the bias correction divides by zero, and the first update is NaN;
# optax.adam keeps its numbers as they are stated. The hyperparameters that were
# not to be changed are injected, too, unless named in static_args, and
# hyperparam_dtype=jnp.float32 is right for all. With a float32 parameter
# beside it a bfloat16 one is right as well.
# With: optax 0.2.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> float32: b2 0.999, update -0.001
#> bfloat16: b2 1.0, update nan
#> bfloat16, one float32 beside it: b2 0.999, update -0.001
#> bfloat16, hyperparam_dtype float32: b2 0.999, update -0.001
#> bfloat16, b2 static: b2 not injected, update -0.001
#> bfloat16, not injected: update -0.001
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax.numpy as jnp
import optax


def update(optimizer, params):
  state = optimizer.init(params)
  updates, _ = optimizer.update(params, state, params)  # gradients of 1
  return f"update {float(updates['w'][0]):.3f}", state


def show(name, params, **options) -> None:
  adam = optax.inject_hyperparams(optax.adam, **options)(learning_rate=1e-3)
  found, state = update(adam, params)
  b2 = state.hyperparams.get("b2")
  b2 = "not injected" if b2 is None else round(float(b2), 4)
  print(f"{name}: b2 {b2}, {found}")


half = {"w": jnp.ones(3, jnp.bfloat16)}
show("float32", {"w": jnp.ones(3)})
show("bfloat16", half)
show("bfloat16, one float32 beside it", half | {"b": jnp.ones(3)})
show(
  "bfloat16, hyperparam_dtype float32", half, hyperparam_dtype=jnp.float32
)
show("bfloat16, b2 static", half, static_args=("b2",))
print("bfloat16, not injected:", update(optax.adam(1e-3), half)[0])
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
