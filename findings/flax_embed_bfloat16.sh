#!/usr/bin/env bash
# Guess: `nn.Embed` with `dtype=bfloat16` rounds the rows that it returns; its
# table and the gradient of it are float32, so that a token that stands in a
# batch 4,096 times has the sum of 4,096 gradients, off by a digit.
# Seen: The whole table is cast before rows are taken of it, and the gradient is
# added up row by row in bfloat16, where 256 + 1 is 256, before it is cast back:
# of 4,096 equal gradients of a token, as of [SEP] or a frequent brand, 256 are
# counted. Rows of a table without `dtype` that are cast afterwards give the
# whole sum. `nnx.Embed` is like it, and so is `x.at[ids].add` of bfloat16. Seen
# on a CPU.
# With: flax 0.12.8, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> a token 100 times: dtype=bfloat16 100, cast afterwards 100 (float32, float32)
#> a token 256 times: dtype=bfloat16 256, cast afterwards 256 (float32, float32)
#> a token 1,000 times: dtype=bfloat16 256, cast afterwards 1000 (float32, float32)
#> a token 4,096 times: dtype=bfloat16 256, cast afterwards 4096 (float32, float32)
#> nnx.Embed, 4,096 times: 256
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q flax==0.12.8 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

rounded = nn.Embed(8, 4, dtype=jnp.bfloat16)
exact = nn.Embed(8, 4)


def gradient(table, ids):
  """Of the sum of all rows: how often each row was taken."""

  def loss(params):
    rows = table.apply(params, ids).astype(jnp.bfloat16)
    return rows.astype(jnp.float32).sum()

  params = table.init(jax.random.key(0), ids)
  return jax.jit(jax.grad(loss))(params)["params"]["embedding"]


for count in (100, 256, 1_000, 4_096):
  ids = jnp.full(count, 3)
  found = [gradient(table, ids) for table in (rounded, exact)]
  print(
    f"a token {count:,} times: dtype=bfloat16 {found[0][3, 0]:.0f},",
    f"cast afterwards {found[1][3, 0]:.0f}",
    f"({found[0].dtype}, {found[1].dtype})",
  )


def total(table):
  return table(ids).astype(jnp.float32).sum()


table = nnx.Embed(8, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
found = nnx.jit(nnx.grad(total))(table).embedding[...]
print(f"nnx.Embed, {count:,} times: {found[3, 0]:.0f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
