#!/usr/bin/env bash
# Guess: Data parallelism as it was written for pmap moves to `jax.shard_map`
# as it is: each device takes the gradient of its own mean loss, and
# `jax.lax.pmean` averages the gradients.
# Seen: The gradient of weights that are the same on all devices arrives summed
# over them: the transpose of their spreading is a sum. `pmean` of that is no
# change, so that on 4 devices the gradient is 4 times as large, and `psum`
# makes it 16 times, without an error. With `check_vma=False`, or with the mean
# taken of the loss, it is the right one.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> one device: 3.5
#> pmap, pmean of gradients: 3.5
#> shard_map, pmean of gradients: 14.0
#> shard_map, psum of gradients: 56.0
#> shard_map, check_vma=False, pmean: 3.5
#> shard_map, gradient of the pmean: 3.5
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
}
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

mesh = jax.make_mesh((4,), ("data",))
weight, x = jnp.float32(1), jnp.arange(8, dtype=jnp.float32)


def loss(weight, x):
  return jnp.mean(weight * x)


def averaged(weight, x):
  return jax.lax.pmean(jax.grad(loss)(weight, x), "data")


def summed(weight, x):
  return jax.lax.psum(jax.grad(loss)(weight, x), "data")


def of_mean(weight, x):
  return jax.grad(lambda w: jax.lax.pmean(loss(w, x), "data"))(weight)


def shard_map(step, **options):
  mapped = jax.shard_map(
    step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), **options
  )
  given = (weight, P()), (x, P("data"))
  placed = [jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in given]
  return float(jax.jit(mapped)(*placed))


print("one device:", float(jax.grad(loss)(weight, x)))
pmap = jax.pmap(averaged, axis_name="data", in_axes=(None, 0))
print("pmap, pmean of gradients:", float(pmap(weight, x.reshape(4, 2))[0]))
print("shard_map, pmean of gradients:", shard_map(averaged))
print("shard_map, psum of gradients:", shard_map(summed))
unchecked = shard_map(averaged, check_vma=False)
print("shard_map, check_vma=False, pmean:", unchecked)
print("shard_map, gradient of the pmean:", shard_map(of_mean))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
