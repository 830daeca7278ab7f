"""Prints what a v5e's compiler estimates of parts of item_base's blocks.

Of a gradient: attention with its linear layers, or an MLP with dropout, of 64
pairs by default. It needs the extra `aot` and no TPU.

    python tests/peers/tpu_block.py --attention=pallas
    python tests/peers/tpu_block.py --dropout=rbg
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

BITS = ("none", "hash", "threefry2x32", "rbg")
DUMP = tempfile.mkdtemp()
os.environ |= {
  "JAX_PLATFORMS": "cpu",
  "TPU_SKIP_MDS_QUERY": "1",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "JAX_ENABLE_COMPILATION_CACHE": "false",
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--attention", choices=("xla", "pallas"))
  parser.add_argument("--dropout", choices=BITS)
  parser.add_argument("--rows", type=int, default=64)
  parser.add_argument("--positions", type=int, default=256)
  args = parser.parse_args()
  if args.attention == "pallas":
    # What the compiler's last stage schedules: the kernels' own length.
    os.environ["LIBTPU_INIT_ARGS"] = (
      f"--xla_jf_dump_to={DUMP} --xla_jf_dump_llo_text=true"
    )
  import jax

  from item_jax.diagnostics import targets

  (device,) = targets.find_target("v5e:1").devices()
  here = jax.sharding.SingleDeviceSharding(device)
  make = _attention if args.attention else _dropout
  kind = args.attention or args.dropout
  loss, shapes = make(kind, args.rows, args.positions)
  shapes = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=here), shapes
  )
  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  compiled = gradient.lower(*shapes).compile()
  text, memory = compiled.as_text(), compiled.memory_analysis()
  assert text is not None
  assert memory is not None
  cycles = sum(map(int, re.findall(r'estimated_cycles":"?(\d+)', text)))
  size = memory.temp_size_in_bytes / 1e6
  print(f"{cycles:,} cycles, {size:.0f} MB of temporary arrays")
  for path in sorted(Path(DUMP).glob("*splash*-final_bundles.txt")):
    text = path.read_text()
    bundles = len(re.findall(r"^ *0x[0-9a-f]+ +\w*: +>", text, re.MULTILINE))
    print(f"{path.name.split('-')[1]}: {bundles:,} cycles a row and head")


def _attention(kernel: str, rows: int, positions: int):
  import jax
  import jax.numpy as jnp

  from item_jax.models import layers

  def loss(kernel_DTHd, x_BSD, lengths_B):
    qkv = jnp.einsum("bsd,dthe->bsthe", x_BSD, kernel_DTHd)
    query_BSHd, key_BSHd, value_BSHd = (qkv[:, :, i] for i in range(3))
    mixed_BSHd = layers.attend(
      *(query_BSHd, key_BSHd, value_BSHd, lengths_B), implementation=kernel
    )
    out = kernel_DTHd[:, 0].transpose(1, 2, 0)
    y_BSD = jnp.einsum("bshe,hef->bsf", mixed_BSHd, out)
    return y_BSD.astype(jnp.float32).sum()

  return loss, (
    jax.ShapeDtypeStruct((768, 3, 12, 64), jnp.bfloat16),
    jax.ShapeDtypeStruct((rows, positions, 768), jnp.bfloat16),
    jax.ShapeDtypeStruct((rows,), jnp.int32),
  )


def _dropout(bits: str, rows: int, positions: int):
  import flax.linen as nn
  import jax.numpy as jnp

  from item_jax.models import layers
  from item_jax.models.dropout import Dropout

  class Half(nn.Module):
    """The second half of a block of post-norm."""

    config: layers.TransformerConfig

    @nn.compact
    def __call__(self, x_BSD):
      mlp = layers.Mlp(self.config, name="mlp")
      drop = Dropout(0.0 if bits == "none" else 0.1, bits)
      y_BSD = drop(mlp(x_BSD), deterministic=False)
      y_BSD = layers.layer_norm(name="norm")(x_BSD + y_BSD)
      return y_BSD.astype(x_BSD.dtype)

  config = layers.TransformerConfig(1, 768, 12, 3072, dtype=jnp.bfloat16)
  return _training(Half(config), bits, rows, positions)


def _training(module, bits: str, rows: int, positions: int):
  """What a gradient is taken of, and the shapes that it is given."""
  import jax
  import jax.numpy as jnp

  from item_jax.models.dropout import make_root

  x_BSD = jax.ShapeDtypeStruct((rows, positions, 768), jnp.bfloat16)
  params = jax.eval_shape(
    lambda key, x: module.init({"params": key, "dropout": key}, x),
    jax.random.key(0),
    x_BSD,
  )

  def loss(params, x_BSD, cotangent_BSD, seed):
    rngs = {} if bits == "none" else {"dropout": make_root(seed, bits)}
    out_BSD = module.apply(params, x_BSD, rngs=rngs)
    return (out_BSD * cotangent_BSD).astype(jnp.float32).sum()

  return loss, (params, x_BSD, x_BSD, jax.ShapeDtypeStruct((), jnp.int32))


if __name__ == "__main__":
  main()
