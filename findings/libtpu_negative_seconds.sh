#!/usr/bin/env bash
# Guess: cost_analysis()["optimal_seconds"] of a program compiled for a TPU is
# the least time that it takes: more layers, more seconds.
# Seen: From a few layers on it falls below zero, by whole seconds: -2 for the
# gradient of 4 layers, -12 for that of 12. An instruction without an estimate
# seems to count as -1 second in the sum. The cycles that the compiled program
# states grow with the layers.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> 1 layers: above zero True, rounded 0 s, more cycles than before True
#> 2 layers: above zero True, rounded 0 s, more cycles than before True
#> 4 layers: above zero False, rounded -2 s, more cycles than before True
#> 8 layers: above zero False, rounded -6 s, more cycles than before True
#> 12 layers: above zero False, rounded -12 s, more cycles than before True
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
  # libtpu only compiles here: for a chip that is not there.
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_LOG_DIR": "disabled",
}
import jax
import jax.numpy as jnp
from jax.experimental import topologies

chips = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
one = jax.sharding.SingleDeviceSharding(chips[0])


def loss(ws, x):
  for w in ws:
    x = jnp.tanh(x @ w)
  return (x * x).mean()


w = jax.ShapeDtypeStruct((1024, 1024), jnp.float32, sharding=one)
x = jax.ShapeDtypeStruct((4096, 1024), jnp.float32, sharding=one)
before = 0
for layers in (1, 2, 4, 8, 12):
  traced = jax.jit(jax.grad(loss)).trace([w] * layers, x)
  compiled = traced.lower(lowering_platforms=("tpu",)).compile()
  seconds = compiled.cost_analysis()["optimal_seconds"]
  stated = re.findall(r'"estimated_cycles":"(\d+)"', compiled.as_text())
  cycles = sum(map(int, stated))
  print(
    f"{layers} layers: above zero {seconds > 0}, rounded {round(seconds)} s,"
    f" more cycles than before {cycles > before}"
  )
  before = cycles
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
