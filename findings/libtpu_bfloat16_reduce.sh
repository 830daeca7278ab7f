#!/usr/bin/env bash
# Guess: In data-parallel training with float32 parameters that are cast to
# bfloat16 for a product the devices add up float32 gradients: jax.grad returns
# float32, and a test on several CPU devices shows what a TPU would do.
# Seen: Compiled for TPUs the gradients are added up across the chips as
# bfloat16 and become float32 afterwards; the CPU's program adds float32, so
# that a test on it does not show the rounding. Within jax.shard_map, with the
# sum stated for the gradient that jax.grad returned, both add float32.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> cpu, sum left to XLA: gradient f32, added up as f32
#> cpu, sum stated: gradient f32, added up as f32
#> tpu, sum left to XLA: gradient f32, added up as bf16
#> tpu, sum stated: gradient f32, added up as f32
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 libtpu==0.0.42.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import re

os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
  # libtpu only compiles here: for four chips that are not there.
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_LOG_DIR": "disabled",
}
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def loss(w, x):
  y = x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)
  return (y.astype(jnp.float32) ** 2).mean()


def left_to_xla(w, x):
  return jax.grad(loss)(w, x)


def stated(w, x):
  w = jax.lax.pcast(w, "data", to="varying")  # no sum of grad's own
  return jax.lax.pmean(jax.grad(loss)(w, x), "data")


chips = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
for platform, devices in {"cpu": jax.devices(), "tpu": chips}.items():
  mesh = Mesh(np.array(devices), ("data",))
  same, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
  shapes = [
    jax.ShapeDtypeStruct((4096, 256), jnp.float32, sharding=same),
    jax.ShapeDtypeStruct((1024, 4096), jnp.float32, sharding=split),
  ]
  by_hand = jax.shard_map(
    stated, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()
  )
  steps = {"sum left to XLA": left_to_xla, "sum stated": by_hand}
  for name, step in steps.items():
    traced = jax.jit(step, out_shardings=same).trace(*shapes)
    compiled = traced.lower(lowering_platforms=(platform,)).compile()
    text = compiled.as_text()
    sums = r"= \(?(\w+)\[[\d,]+\].* all-reduce(?:-start)?\("
    added = set(re.findall(sums, text))
    gradient = {"float32": "f32"}[traced.out_info.dtype.name]
    print(
      f"{platform}, {name}: gradient {gradient}, added up as", *sorted(added)
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
