"""ResNet v1.5, whose embedding is the global average of its last features.

He et al. 2015 with the stride in the 3 x 3 convolution (torchvision's and
Hugging Face's `microsoft/resnet-50`), paddings as PyTorch places them.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.models import base, cost, memory, patches
from item_jax.models.base import BATCH_STATS, Network, Vocabulary
from item_jax.models.stem import Stem

EPSILON = 1e-5
MOMENTUM = 0.9  # of the running statistics; PyTorch calls this 0.1
_GROUPS = 32  # Wu and He 2018
EXPANSION = 4  # channels out of a block over those inside


STAGES = (3, 4, 6, 3)  # blocks of each stage of ResNet50


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds `model.name="resnet50"`."""
  del vocabulary, attention
  r, m = config.resnet, config.model
  module = _make_module(config)
  stem = make_stem(config)
  # Weights that stay as they are keep the statistics that they were given.
  moves = config.optim.start_rate > 0

  def features(params, batch, *, train, key=None):
    del key
    train = train and moves
    variables = {"params": params}
    if BATCH_STATS not in params:
      return module.apply(variables, batch, train=train), {}
    variables["batch_stats"] = params[BATCH_STATS]
    if not train:
      return module.apply(variables, batch, train=False), {}
    pool_BD, changed = module.apply(
      variables, batch, train=True, mutable=["batch_stats"]
    )
    return pool_BD, {BATCH_STATS: changed["batch_stats"]}

  return Network(
    module=module,
    init=stem.init,
    features=features,
    dims=module.features,
    sequence=f"an image of {m.image_size} pixels",
    passes=(stem.cost,),
    modality="image",
    whole_batch="resnet.norm='batch'" if r.norm == "batch" and moves else "",
  )


def make_stem(config: Config) -> Stem:
  """Its last features before the mean, a 32nd of the image's side."""
  r, m = config.resnet, config.model
  module = _make_module(config)

  def init(key):
    made = module.init(key, base.example_batch(config), train=False)
    params = dict(made["params"])
    if "batch_stats" in made:
      params[BATCH_STATS] = made["batch_stats"]
    return params

  def grid(params, batch):
    variables = {"params": params}
    if BATCH_STATS in params:
      variables["batch_stats"] = jax.lax.stop_gradient(params[BATCH_STATS])
    return module.apply(variables, batch, train=False, method="grid")

  return Stem(
    init,
    grid,
    side=-(-m.image_size // 32),
    channels=module.features,
    cost=ConvolutionPass(STAGES, r.width, m.image_size, m.dtype),
  )


def _make_module(config: Config) -> "ResNet":
  r = config.resnet
  return ResNet(
    stages=STAGES,
    width=r.width,
    norm=r.norm,
    pixels=r.pixels,
    dtype=jnp.dtype(config.model.dtype),
  )


class ConvolutionPass(NamedTuple):
  """What a pass through a ResNet costs; see `passes.Pass`."""

  stages: tuple[int, ...]
  width: int
  image_size: int
  dtype: Any
  attention_shape = None

  @property
  def flops(self) -> float:
    return cost.resnet_flops(
      stages=self.stages, width=self.width, image_size=self.image_size
    )

  def activation_bytes(self, chip: memory.Chip) -> memory.Kept:
    del chip
    return memory.resnet_bytes(
      stages=self.stages,
      width=self.width,
      image_size=self.image_size,
      itemsize=jnp.dtype(self.dtype).itemsize,
    )


class ResNet(nn.Module):
  """Fields:

  stages: blocks of each stage; (3, 4, 6, 3) is ResNet50.
  width: channels of the first stage's inner convolutions; 64 is ResNet50's.
  norm: "batch" or "group".
  pixels: how grey levels become numbers, see `patches.normalise`.
  """

  stages: tuple[int, ...] = (3, 4, 6, 3)
  width: int = 64
  norm: str = "batch"
  pixels: str = "half"
  dtype: Any = jnp.float32

  @property
  def features(self) -> int:
    return self.width * EXPANSION * 2 ** (len(self.stages) - 1)

  def __call__(self, batch, *, train: bool):
    """The global average pool.

    Args:
      batch: `Batch`; what the image of a row without an image holds is not
        looked at.
      train: True normalises by this batch's statistics and changes the
        running ones (make the collection "batch_stats" mutable); with group
        norm it changes nothing.

    Returns:
      float32 [B, features], 32 * width with four stages; zeros for a row
      without an image.
    """
    grid_BHWC = self.grid(batch, train=train)
    return _rows(batch.has_image_B, grid_BHWC.mean((1, 2)))

  @nn.compact
  def grid(self, batch, *, train: bool):
    """The last features, float32 [B,h,w,features]; arguments as above."""
    real_B = batch.has_image_B
    x = patches.normalise(batch.image_BHWC, self.pixels)
    x = _rows(real_B, x).astype(self.dtype)
    x = conv(self.width, 7, stride=2, dtype=self.dtype, name="stem")(x)
    x = Norm(self.norm, self.dtype, name="stem_norm")(x, real_B, train=train)
    x = nn.relu(x)
    x = nn.max_pool(
      x,
      (3, 3),
      strides=(2, 2),
      # flax has no type for it, and "VALID" as its default.
      padding=((1, 1), (1, 1)),  # pyright: ignore[reportArgumentType]
    )
    for i, blocks in enumerate(self.stages):
      for j in range(blocks):
        x = Bottleneck(
          width=self.width * 2**i,
          stride=2 if i > 0 and j == 0 else 1,
          norm=self.norm,
          dtype=self.dtype,
          name=f"stage_{i}_block_{j}",
        )(x, real_B, train=train)
    return x.astype(jnp.float32)


class Bottleneck(nn.Module):
  """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

  width: int
  stride: int
  norm: str
  dtype: Any

  @nn.compact
  def __call__(self, x, real_B, *, train: bool):
    def normed(x, name):
      return Norm(self.norm, self.dtype, name=name)(x, real_B, train=train)

    out = self.width * EXPANSION
    h = conv(self.width, 1, dtype=self.dtype, name="conv1")(x)
    h = nn.relu(normed(h, "norm1"))
    h = conv(self.width, 3, stride=self.stride, dtype=self.dtype, name="conv2")(
      h
    )
    h = nn.relu(normed(h, "norm2"))
    h = normed(conv(out, 1, dtype=self.dtype, name="conv3")(h), "norm3")
    if self.stride > 1 or x.shape[-1] != out:
      x = conv(out, 1, stride=self.stride, dtype=self.dtype, name="shortcut")(x)
      x = normed(x, "shortcut_norm")
    return nn.relu(x + h)


def conv(features: int, size: int, *, stride: int = 1, dtype, name: str):
  """A convolution without bias, padded by half its size on every side."""
  half = size // 2
  return nn.Conv(
    features,
    (size, size),
    strides=(stride, stride),
    padding=((half, half), (half, half)),
    use_bias=False,
    dtype=dtype,
    # He et al. 2015 (b), as torchvision starts its ResNets.
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    name=name,
  )


class Norm(nn.Module):
  """Batch or group norm, computed in float32.

  Rows without an image come in as zeros, from a convolution without bias, and
  go out as zeros.

  Batch norm's statistics are over the rows with an image of the whole batch,
  which under jit is the global one, however it lies on devices. The running
  ones take the unbiased variance, as PyTorch's.
  """

  kind: str
  dtype: Any

  @nn.compact
  def __call__(self, x_BHWC, real_B, *, train: bool):
    C = x_BHWC.shape[-1]
    scale_C = self.param("scale", nn.initializers.ones, (C,))
    bias_C = self.param("bias", nn.initializers.zeros, (C,))
    x_BHWC = x_BHWC.astype(jnp.float32)
    if self.kind == "group":
      mean, var = _group_statistics(x_BHWC)
    elif self.kind == "batch":
      mean, var = self._batch_statistics(x_BHWC, real_B, train)
    else:
      raise UserError(f"norm={self.kind!r}: known are batch, group")
    x_BHWC = (x_BHWC - mean) * jax.lax.rsqrt(var + EPSILON)
    # Zero in every layer: what is left out of the statistics could otherwise
    # grow from layer to layer without bound.
    return _rows(real_B, x_BHWC * scale_C + bias_C).astype(self.dtype)

  def _batch_statistics(self, x_BHWC, real_B, train: bool):
    C = x_BHWC.shape[-1]
    running = (
      self.variable("batch_stats", "mean", jnp.zeros, (C,), jnp.float32),
      self.variable("batch_stats", "var", jnp.ones, (C,), jnp.float32),
    )
    if not train:
      return running[0].value, running[1].value
    _, H, W, _ = x_BHWC.shape
    positions = real_B.sum().astype(jnp.float32) * (H * W)
    count = jnp.maximum(positions, 1.0)
    mean_C = x_BHWC.sum((0, 1, 2)) / count
    apart_BHWC = _rows(real_B, x_BHWC - mean_C)
    var_C = (apart_BHWC**2).sum((0, 1, 2)) / count
    if not self.is_initializing():
      unbiased_C = var_C * (count / jnp.maximum(count - 1.0, 1.0))
      for old, new in zip(running, (mean_C, unbiased_C), strict=True):
        moved = MOMENTUM * old.value + (1.0 - MOMENTUM) * new
        # A batch without an image changes nothing.
        old.value = jnp.where(positions > 0, moved, old.value)
    return mean_C, var_C


def _group_statistics(x_BHWC):
  """Mean and variance of each row's groups of channels, as [B,1,1,C]."""
  B, H, W, C = x_BHWC.shape
  groups = math.gcd(_GROUPS, C)
  x = x_BHWC.reshape(B, H, W, groups, C // groups)
  mean, var = x.mean((1, 2, 4)), x.var((1, 2, 4))
  return (
    jnp.repeat(s, C // groups, axis=-1)[:, None, None] for s in (mean, var)
  )


def _rows(real_B, x):
  """Zeros in place of the rows that are not real."""
  return jnp.where(real_B.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)
