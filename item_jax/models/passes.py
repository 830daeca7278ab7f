"""Counts the work and the memory of one pass of a pair through an encoder."""

from typing import NamedTuple, Protocol

import jax.numpy as jnp

from item_jax.models import cost, memory
from item_jax.models.layers import TransformerConfig


class Pass(Protocol):
  """What a pair costs in one pass through an encoder."""

  @property
  def flops(self) -> float:
    """Forward FLOPs; a multiply-add counts as two."""
    ...

  @property
  def attention_shape(self) -> tuple[int, int, int, bool] | None:
    """(positions, heads, depth, causal); None without attention."""
    ...

  def activation_bytes(self, chip: memory.Chip) -> memory.Kept:
    """What a training step keeps of it."""
    ...


class EncoderPass(NamedTuple):
  """A pass through a transformer."""

  encoder: TransformerConfig
  positions: int
  num_patches: int = 0  # among the positions
  patch_pixels: int = 0  # or channels of a stem, which are projected alike

  @property
  def flops(self) -> float:
    e = self.encoder
    encoder = cost.encoder_flops(
      e.layers, positions=self.positions, width=e.width, mlp=e.mlp
    )
    return float(encoder + 2 * self.num_patches * self.patch_pixels * e.width)

  @property
  def tokens(self) -> int:
    """Positions of a title, or none: what is not patches and a [CLS]."""
    return max(0, self.positions - self.num_patches - 1)

  @property
  def attention_shape(self) -> tuple[int, int, int, bool]:
    e = self.encoder
    return self.positions, e.heads, e.width // e.heads, e.causal

  def activation_bytes(self, chip: memory.Chip) -> memory.Kept:
    e = self.encoder
    block = memory.Block(
      self.positions,
      e.width,
      e.mlp,
      e.heads,
      itemsize=jnp.dtype(e.dtype).itemsize,
      dropout=e.dropout > 0,
    )
    read = self.num_patches * self.patch_pixels
    return memory.encoder_bytes(e.layers, chip, block, remat=e.remat, read=read)


class FrozenPass(NamedTuple):
  """A pass forward only, whose work `Network.frozen_flops` counts."""

  of: Pass
  flops = 0.0
  attention_shape = None

  def activation_bytes(self, chip: memory.Chip) -> memory.Kept:
    """Nothing is kept but what the next pass reads, which that one counts."""
    return memory.Kept(0, 0, alone=self.of.activation_bytes(chip).alone)
