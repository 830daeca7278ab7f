#!/usr/bin/env bash
# Guess: A table that is looked up and also used as the decoder (tied
# embeddings) has one gradient, and data-parallel training sums it across the
# devices once: XLA adds the two parts first.
# Seen: Both parts, each as large as the table, are summed across the devices
# and added afterwards: twice the traffic, on the CPU and for a TPU. Within
# jax.shard_map, with the sum stated for the whole gradient, it is one.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> cpu, sum left to XLA: tables summed for a lookup 1, a decoder 1, both 2
#> cpu, sum stated: tables summed for a lookup 1, a decoder 1, both 1
#> tpu, sum left to XLA: tables summed for a lookup 1, a decoder 1, both 2
#> tpu, sum stated: tables summed for a lookup 1, a decoder 1, both 1
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

WORDS, WIDTH = 8192, 256


def lookup(table, ids, x):
  return jnp.tanh(table[ids] * x).mean()


def decoder(table, ids, x):
  return jax.nn.logsumexp(x @ table.T, -1).mean()


def both(table, ids, x):
  return decoder(table, ids, jnp.tanh(table[ids] * x))


def tables_summed(loss, platform, mesh, by_hand) -> int:
  def step(*given):
    if not by_hand:
      return jax.grad(loss)(*given)
    table = jax.lax.pcast(given[0], "data", to="varying")
    return jax.lax.pmean(jax.grad(loss)(table, *given[1:]), "data")

  if by_hand:
    parts = P(), P("data"), P("data")
    step = jax.shard_map(step, mesh=mesh, in_specs=parts, out_specs=P())
  same, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
  shapes = [
    jax.ShapeDtypeStruct((WORDS, WIDTH), jnp.float32, sharding=same),
    jax.ShapeDtypeStruct((1024,), jnp.int32, sharding=split),
    jax.ShapeDtypeStruct((1024, WIDTH), jnp.float32, sharding=split),
  ]
  traced = jax.jit(step, out_shardings=same).trace(*shapes)
  compiled = traced.lower(lowering_platforms=(platform,)).compile()
  results = [
    line.split(" all-reduce")[0]
    for line in compiled.as_text().splitlines()
    if " all-reduce(" in line or " all-reduce-start(" in line
  ]
  return sum(result.count(f"f32[{WORDS},{WIDTH}]") for result in results)


chips = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
for platform, devices in {"cpu": jax.devices(), "tpu": chips}.items():
  mesh = Mesh(np.array(devices), ("data",))
  for name, by_hand in {"sum left to XLA": False, "sum stated": True}.items():
    counts = [
      tables_summed(loss, platform, mesh, by_hand)
      for loss in (lookup, decoder, both)
    ]
    print(
      f"{platform}, {name}: tables summed for a lookup {counts[0]},"
      f" a decoder {counts[1]}, both {counts[2]}"
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
