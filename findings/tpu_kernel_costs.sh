#!/usr/bin/env bash
# Guess: A program for a TPU with a Pallas kernel in it has the kernel's work in
# what the compiler says of it: in cost_analysis()["flops"], and in the
# estimated_cycles of its instructions.
# Seen: A kernel has no estimated cycles, and no flops but those of its
# cost_estimate, which are taken as stated, right or wrong. A program whose
# second product is a kernel looks twice as fast as that with two products of
# XLA's. With the estimate its flops are right, its cycles as before.
# With: jax 0.10.2, libtpu 0.0.42.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-01.
# Printed:
#> two products of XLA's: flops of 2.0 products, less than half of the cycles False
#> second a kernel: flops of 1.0 products, less than half of the cycles True
#> with its cost estimate: flops of 2.0 products, less than half of the cycles True
#> with five times of it: flops of 6.0 products, less than half of the cycles True
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
from jax.experimental import pallas as pl
from jax.experimental import topologies

SIZE, ROWS = 1024, 128
FLOPS = 2 * SIZE**3  # of one product


def multiply(x, y, result):
  result[...] = jnp.dot(x[...], y[...], preferred_element_type=jnp.float32)


def kernel(x, y, flops=None):
  some = pl.BlockSpec((ROWS, SIZE), lambda i: (i, 0))
  whole = pl.BlockSpec((SIZE, SIZE), lambda i: (0, 0))
  estimate = flops and pl.CostEstimate(
    flops=flops, transcendentals=0, bytes_accessed=3 * x.nbytes
  )
  return pl.pallas_call(
    multiply,
    out_shape=jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32),
    grid=(SIZE // ROWS,),
    in_specs=[some, whole],
    out_specs=some,
    cost_estimate=estimate,
  )(x, y)


programs = {
  "two products of XLA's": lambda x, y: x @ y @ y,
  "second a kernel": lambda x, y: kernel(x @ y, y),
  "with its cost estimate": lambda x, y: kernel(x @ y, y, FLOPS),
  "with five times of it": lambda x, y: kernel(x @ y, y, 5 * FLOPS),
}
chips = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
one = jax.sharding.SingleDeviceSharding(chips[0])
array = jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32, sharding=one)
of_xla = None
for name, program in programs.items():
  traced = jax.jit(program).trace(array, array)
  compiled = traced.lower(lowering_platforms=("tpu",)).compile()
  products = compiled.cost_analysis()["flops"] / FLOPS
  stated = re.findall(r'"estimated_cycles":"(\d+)"', compiled.as_text())
  cycles = sum(map(int, stated))
  of_xla = of_xla or cycles
  print(
    f"{name}: flops of {products:.1f} products,"
    f" less than half of the cycles {cycles < of_xla / 2}"
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
