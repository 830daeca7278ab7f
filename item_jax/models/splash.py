"""Computes attention by splash attention, jax's kernel for TPUs in Pallas.

Of jax's two it is the one whose gradient is a single kernel. Around those of
the other, flash attention, XLA lays out numbers of which each is there 128
times: by its compiler's estimate that alone takes as long as XLA's attention.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernel,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
from jax.sharding import AbstractMesh, PartitionSpec

_TILE = 128  # positions: what a TPU's matrix unit takes at once
_LONGEST = 512  # block: its scores, 1 MB of float32, fit beside the rest
# As XLA lays out what products give of heads of depth 64. With the depth last
# half of every 128 lanes would be empty, and read and written all the same.
_LAYOUT = kernel.QKVLayout.SEQ_MINOR


def attend(query_BSHd, key_BSHd, value_BSHd, lengths_B, *, causal: bool, mesh):
  """`layers.attend` on TPUs.

  Sequences are padded to a multiple of 128 positions.

  Args:
    mesh: devices along the axes "data" and "fsdp", which share the rows. jax
      refuses a kernel that is not told how.
  """
  if mesh == (1, 1):
    return _attend(query_BSHd, key_BSHd, value_BSHd, lengths_B, causal)
  rows = PartitionSpec(("data", "fsdp"))
  return jax.shard_map(
    functools.partial(_attend, causal=causal),
    mesh=AbstractMesh(mesh, ("data", "fsdp")),
    in_specs=rows,
    out_specs=rows,
    check_vma=False,  # kernels do not say which axes their results differ on
  )(query_BSHd, key_BSHd, value_BSHd, lengths_B)


def _attend(query_BSHd, key_BSHd, value_BSHd, lengths_B, causal: bool):
  _, S, heads, depth = query_BSHd.shape
  padded = -(-S // _TILE) * _TILE
  size = max(n for n in range(_TILE, _LONGEST + 1, _TILE) if padded % n == 0)
  mask = (masks.CausalMask if causal else masks.FullMask)((padded, padded))
  run: Any = kernel.make_splash_mha_single_device(
    masks.MultiHeadMask([mask] * heads),
    block_sizes=kernel.BlockSizes(
      block_q=size,
      block_kv=size,
      block_q_dkv=size,
      block_kv_dkv=size,
      use_fused_bwd_kernel=True,
      q_layout=_LAYOUT,
      k_layout=_LAYOUT,
      v_layout=_LAYOUT,
    ),
  )

  def head_major(x_BSHd):
    pad = ((0, 0), (0, padded - S), (0, 0), (0, 0))
    return jnp.pad(x_BSHd, pad).swapaxes(1, 2)

  # A position sees those of its own segment: all are of 0, and keys past the
  # length of 1.
  keys_BS = (jnp.arange(padded) >= lengths_B[:, None]).astype(jnp.int32)
  segments = kernel.SegmentIds(q=jnp.zeros_like(keys_BS), kv=keys_BS)
  mixed_BHSd: Any = jax.vmap(run)(
    head_major(query_BSHd * depth**-0.5),
    head_major(key_BSHd),
    head_major(value_BSHd),
    segments,
  )
  return mixed_BHSd.swapaxes(1, 2)[:, :S]
