"""EfficientNet-Lite0, whose embedding is the mean of its last features.

Tan and Le 2019; Lite: ReLU6, no squeeze and excitation, paddings as
TensorFlow's "SAME". Norms take the stored statistics, in training too: it is
here to start from published weights, and not to be trained from nothing.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.config import Config
from item_jax.models import base, memory, patches
from item_jax.models.base import BATCH_STATS, Network, Vocabulary
from item_jax.models.stem import Stem

EPSILON = 1e-3
PIXELS = "lite"  # what the published weights have seen, see `patches`


class Stage(NamedTuple):
  """Blocks of one width; the first takes the stride."""

  blocks: int
  size: int  # of the depthwise convolution
  stride: int
  expand: int  # channels inside a block over those that come in
  width: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1_280  # channels of the first and of the last convolution


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds `model.name="efficientnet_lite0"`."""
  del vocabulary, attention
  stem = make_stem(config)

  def features(params, batch, *, train, key=None):
    del train, key
    pool_BC = stem.grid(params, batch).mean((1, 2))
    return jnp.where(batch.has_image_B[:, None], pool_BC, 0.0), {}

  return Network(
    module=None,
    init=stem.init,
    features=features,
    dims=stem.channels,
    sequence=f"an image of {config.model.image_size} pixels",
    passes=(stem.cost,),
    modality="image",
  )


def make_stem(config: Config, *, head: bool = True) -> Stem:
  """Its last features before the mean, a 32nd of the image's side.

  Args:
    head: False ends at the last block: a quarter of the values, of which the
      sides know an image's mean and deviation.
  """
  m = config.model
  module = EfficientNet(STAGES, jnp.dtype(m.dtype), head)

  def init(key):
    made = module.init(key, base.example_batch(config).image_BHWC)
    return {**made["params"], BATCH_STATS: made["batch_stats"]}

  def grid(params, batch):
    statistics = jax.lax.stop_gradient(params[BATCH_STATS])
    variables = {"params": params, "batch_stats": statistics}
    return module.apply(variables, batch.image_BHWC)

  cost = EfficientNetPass(STAGES, m.image_size, m.dtype, head)
  channels = HEAD if head else STAGES[-1].width
  return Stem(
    init, grid, side=cost.side, channels=channels, cost=cost, spread=not head
  )


class EfficientNet(nn.Module):
  """Fields:

  stages: of blocks; STAGES is Lite0's. head: whether a convolution to HEAD
  channels follows them.
  """

  stages: tuple[Stage, ...] = STAGES
  dtype: Any = jnp.float32
  head: bool = True

  @nn.compact
  def __call__(self, image_BHWC):
    """uint8 [B,H,W,3] to its last features, float32 [B,h,w,C]."""
    x = patches.normalise(image_BHWC, PIXELS).astype(self.dtype)
    x = jnp.clip(self._normed(_conv(x, STEM, 3, 2, "stem"), "stem_norm"), 0, 6)
    number = 0
    for stage in self.stages:
      for first in (True,) + (False,) * (stage.blocks - 1):
        x = Block(
          stage._replace(stride=stage.stride if first else 1),
          self.dtype,
          name=f"block_{number}",
        )(x)
        number += 1
    if self.head:
      x = self._normed(_conv(x, HEAD, 1, 1, "head"), "head_norm")
      x = jnp.clip(x, 0, 6)
    return x.astype(jnp.float32)

  def _normed(self, x, name):
    return _norm(x, self.dtype, name)


class Block(nn.Module):
  """Wider by a 1 x 1, within each channel, narrower by a 1 x 1 convolution."""

  stage: Stage
  dtype: Any

  @nn.compact
  def __call__(self, x):
    s, dtype = self.stage, self.dtype
    h, inner = x, x.shape[-1] * s.expand
    if s.expand > 1:
      h = _norm(_conv(h, inner, 1, 1, "expand"), dtype, "expand_norm")
      h = jnp.clip(h, 0, 6)
    h = Depthwise(s.size, s.stride, name="depthwise")(h)
    h = jnp.clip(_norm(h, dtype, "depthwise_norm"), 0, 6)
    h = _norm(_conv(h, s.width, 1, 1, "project"), dtype, "project_norm")
    return x + h if h.shape == x.shape else h


class Depthwise(nn.Module):
  """A convolution within each channel, padded as "SAME".

  As a sum of shifted products: XLA's own for CPUs takes ten times as long.
  """

  size: int
  stride: int

  @nn.compact
  def __call__(self, x_BHWC):
    size, stride = self.size, self.stride
    B, H, W, C = x_BHWC.shape
    kernel = self.param("kernel", _HE, (size, size, 1, C)).astype(x_BHWC.dtype)
    pads = jax.lax.padtype_to_pads((H, W), (size,) * 2, (stride,) * 2, "SAME")
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    high, wide = -(-H // stride), -(-W // stride)
    return sum(
      jax.lax.slice(
        x_BHWC,
        (0, i, j, 0),
        (B, i + (high - 1) * stride + 1, j + (wide - 1) * stride + 1, C),
        (1, stride, stride, 1),
      )
      * kernel[i, j, 0]
      for i in range(size)
      for j in range(size)
    )


_HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def _conv(x, features: int, size: int, stride: int, name: str):
  return nn.Conv(
    features,
    (size, size),
    strides=(stride, stride),
    padding="SAME",
    use_bias=False,
    dtype=x.dtype,
    kernel_init=_HE,
    name=name,
  )(x)


def _norm(x, dtype, name: str):
  return nn.BatchNorm(
    use_running_average=True, epsilon=EPSILON, dtype=dtype, name=name
  )(x)


class EfficientNetPass(NamedTuple):
  """What a pass costs; see `passes.Pass`."""

  stages: tuple[Stage, ...]
  image_size: int
  dtype: Any
  head: bool = True
  attention_shape = None

  @property
  def side(self) -> int:
    """Of the last features."""
    return list(self._convolutions())[-1][0]

  @property
  def flops(self) -> float:
    """Of convolutions only; positions of the padding are counted too."""
    return float(
      sum(
        2 * side**2 * size**2 * channels_in * channels_out
        for side, size, channels_in, channels_out in self._convolutions()
      )
    )

  def activation_bytes(self, chip: memory.Chip) -> memory.Kept:
    """Of every convolution its output and, in float32, what the norm makes.

    GPUs compute the latter again from a block's first convolution, but where a
    depthwise one reads it 25 times. Gradients begin at the smallest.
    """
    itemsize = jnp.dtype(self.dtype).itemsize
    convolutions = list(self._convolutions())
    sizes = [side**2 * out for side, _, _, out in convolutions]
    again = 0
    for (side, size, _, out), (after, reads, _, _) in itertools.pairwise(
      convolutions
    ):
      widens = size == 1 and reads > 1
      if widens and not (reads == 5 and after == side):
        again += side**2 * out
    kept = sum(sizes) * (4 + itemsize) - (0 if chip.tpu else 4 * again)
    # Forward alone: what one reads and what it gives; norms write in place.
    most = max(map(sum, itertools.pairwise(sizes)))
    return memory.Kept(kept, sizes[-1] * 4 * 2, alone=most * itemsize)

  def _convolutions(self) -> Iterator[tuple[int, int, int, int]]:
    """(side of what comes out, size, channels read, channels out) of each."""
    side, channels = -(-self.image_size // 2), STEM
    yield side, 3, 3, channels
    for stage in self.stages:
      for stride in (stage.stride,) + (1,) * (stage.blocks - 1):
        inner = channels * stage.expand
        if stage.expand > 1:
          yield side, 1, channels, inner
        side = -(-side // stride)
        yield side, stage.size, 1, inner
        yield side, 1, inner, stage.width
        channels = stage.width
    if self.head:
      yield side, 1, channels, HEAD
