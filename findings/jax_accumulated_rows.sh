#!/usr/bin/env bash
# Guess: A batch that lies on 8 devices, cut by reshape(parts, -1) for a scan
# that accumulates gradients, takes the work of one pass, whatever the number of
# parts: each part is divided among the devices like the batch was.
# Seen: The devices are divided among the parts instead: a part is the rows of a
# few devices. The parts are gathered, and every device computes the whole of
# each one: 8 parts take 8 times the work, on the CPU and for a TPU, and the
# gradients are right. With the sharding of the cut batch stated, or with every
# eighth row for a part, reshape(-1, parts) and swapaxes, it is the work of one
# pass.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> cpu, reshape(parts, -1): 2, 4, 8 parts take 2.0 4.0 8.0
#> cpu, reshape(parts, -1), stated: 2, 4, 8 parts take 1.0 1.0 1.0
#> cpu, reshape(-1, parts): 2, 4, 8 parts take 1.0 1.0 1.0
#> tpu, reshape(parts, -1): 2, 4, 8 parts take 2.0 4.0 8.0
#> tpu, reshape(parts, -1), stated: 2, 4, 8 parts take 1.0 1.0 1.0
#> tpu, reshape(-1, parts): 2, 4, 8 parts take 1.0 1.0 1.0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 libtpu==0.0.42.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
  # libtpu only compiles here: for chips that are not there.
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_LOG_DIR": "disabled",
}
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

ROWS, WIDTH = 4096, 512
DEVICES = {
  "cpu": jax.devices(),
  "tpu": topologies.get_topology_desc(
    platform="tpu", topology_name="v5e:2x4"
  ).devices,
}


def loss(weights, rows):
  return (jax.nn.relu(rows @ weights) @ weights.T).mean()


def first(rows, parts):  # the first rows, the next rows, and so on
  return rows.reshape(parts, -1, WIDTH)


def every(rows, parts):  # every eighth row
  return rows.reshape(-1, parts, WIDTH).swapaxes(0, 1)


for name, devices in DEVICES.items():
  mesh = Mesh(np.array(devices), "data")
  whole = NamedSharding(mesh, PartitionSpec())
  split = NamedSharding(mesh, PartitionSpec("data"))

  def flops(step):
    asked = jax.jit(step, in_shardings=(whole, split), out_shardings=whole)
    weights = jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32)
    rows = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    return asked.lower(weights, rows).compile().cost_analysis()["flops"]

  def accumulated(cut, parts):
    def step(weights, rows):
      def add(total, part):
        return total + jax.grad(loss)(weights, part), None

      return jax.lax.scan(add, jnp.zeros_like(weights), cut(rows, parts))[0]

    return step

  def divided(rows, parts):  # as `first`, with the sharding stated
    stated = NamedSharding(mesh, PartitionSpec(None, "data"))
    return jax.lax.with_sharding_constraint(first(rows, parts), stated)

  one = flops(jax.grad(loss))
  cuts = {
    "reshape(parts, -1)": first,
    "reshape(parts, -1), stated": divided,
    "reshape(-1, parts)": every,
  }
  for told, cut in cuts.items():
    # The body of a loop is counted once, so once for each of its parts.
    work = [parts * flops(accumulated(cut, parts)) / one for parts in (2, 4, 8)]
    print(f"{name}, {told}: 2, 4, 8 parts take", *(f"{w:.1f}" for w in work))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
