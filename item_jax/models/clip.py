"""Two towers, each of which turns one modality into a vector of one space.

Radford et al. 2021: a ViT that is normalised before its blocks, a causal
transformer read at the title's end, a projection of each into one space.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from item_jax.config import Config
from item_jax.models import base, layers, linear, patches
from item_jax.models.base import Network, Vocabulary
from item_jax.models.layers import TransformerConfig
from item_jax.models.passes import EncoderPass

# Radford et al. 2021, 2.5: the temperature starts at 0.07.
FIRST_LOG_SCALE = math.log(1 / 0.07)


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds `model.name="clip"`."""
  m, c = config.model, config.clip
  module = Clip(
    image_config=base.encoder_config(config, attention, norm="pre"),
    title_config=base.encoder_config(
      config,
      attention,
      norm="pre",
      causal=True,
      layers=c.text_layers,
      width=c.text_width,
      heads=c.text_heads,
      mlp=c.text_mlp,
    ),
    vocab_size=base.padded_vocab_size(config, vocabulary),
    pad=vocabulary.pad,
    cls=vocabulary.cls,
    sep=vocabulary.sep,
    image_size=m.image_size,
    patch=m.patch,
    max_title_tokens=m.max_title_tokens,
    projection=c.projection,
  )
  passes = module.encoder_passes()
  return Network(
    module=module,
    init=base.make_init(config, module, "__call__"),
    features=base.make_features(module, image_weight=c.image_weight),
    dims=2 * c.projection,
    sequence=" + ".join(str(one.positions) for one in passes) + " positions",
    passes=passes,
    other_flops=module.projection_flops,
  )


class Clip(nn.Module):
  """Fields as in `item_jax.config`.

  vocab_size: rows of the token table. pad, cls, sep: ids of the padding (which
  may be the same as sep), of the token before every title and of the one after
  it. projection: length of both vectors.
  """

  image_config: TransformerConfig
  title_config: TransformerConfig
  vocab_size: int
  pad: int
  cls: int
  sep: int
  image_size: int
  patch: int
  max_title_tokens: int
  projection: int

  @property
  def num_patches(self) -> int:
    return (self.image_size // self.patch) ** 2

  @property
  def projection_flops(self) -> float:
    """Of a pair. Its cosines with the batch, 4 * projection * batch size, are
    left out: a ten-thousandth of the towers at ViT-B and 512 pairs."""
    widths = self.image_config.width + self.title_config.width
    return float(2 * self.projection * widths)

  @nn.nowrap
  def encoder_passes(self) -> tuple[EncoderPass, EncoderPass]:
    """What the towers cost a pair."""
    N = self.num_patches
    return (
      EncoderPass(self.image_config, 1 + N, N, self.patch**2 * 3),
      EncoderPass(self.title_config, 1 + self.max_title_tokens),
    )

  def setup(self):
    self.image_tower = ImageTower(
      self.image_config, self.num_patches, self.patch
    )
    self.title_tower = TitleTower(
      self.title_config,
      self.vocab_size,
      self.pad,
      self.cls,
      self.sep,
      self.max_title_tokens,
    )
    self.image_projection = self._project(self.image_config)
    self.title_projection = self._project(self.title_config)
    self.log_scale = self.param(
      "log_scale", nn.initializers.constant(FIRST_LOG_SCALE), ()
    )

  def _project(self, config: TransformerConfig):
    return linear.dense(config, self.projection, use_bias=False)

  def __call__(self, batch):
    """Touches every parameter; for initialisation and parameter tables."""
    return self.image(batch), self.title(batch), self.log_scale

  def image(self, batch, *, deterministic: bool = True):
    """Images' vectors, float32 [B,P], not of unit length.

    A row without an image gets the vector of a class token that sees nothing,
    whatever its pixels are.
    """
    state_BD = self.image_tower(batch, deterministic=deterministic)
    return self.image_projection(state_BD).astype(jnp.float32)

  def title(self, batch, *, deterministic: bool = True):
    """Titles' vectors, float32 [B,P], not of unit length.

    A row without a title gets the vector of a lone [CLS], whatever its tokens
    are.
    """
    state_BD = self.title_tower(batch, deterministic=deterministic)
    return self.title_projection(state_BD).astype(jnp.float32)

  def embed(self, batch, image_weight=0.5, *, deterministic: bool = True):
    """Both vectors, late-fused, float32 [B, 2 P]; see `late_fusion`."""
    return late_fusion(
      self.image(batch, deterministic=deterministic),
      self.title(batch, deterministic=deterministic),
      batch.has_image_B,
      batch.has_title_B,
      image_weight,
    )


def late_fusion(image_BP, title_BP, has_image_B, has_title_B, image_weight=0.5):
  """[sqrt(a) u; sqrt(1-a) v] of unit vectors u and v, float32 [B, 2 P].

  The product of two such vectors is a cos_image + (1-a) cos_title.

  Args:
    image_BP, title_BP: of any length but zero.
    has_image_B, has_title_B: a missing modality is a half of zeros; where both
      are missing both halves are kept, so that no vector is zero.
    image_weight: a, between 0 and 1.
  """
  neither_B = ~(has_image_B | has_title_B)
  image_BP = jnp.where(
    (has_image_B | neither_B)[:, None], layers.unit(image_BP), 0.0
  )
  title_BP = jnp.where(
    (has_title_B | neither_B)[:, None], layers.unit(title_BP), 0.0
  )
  return jnp.concatenate(
    [
      jnp.sqrt(image_weight) * image_BP,
      jnp.sqrt(1.0 - image_weight) * title_BP,
    ],
    axis=-1,
  )


class ImageTower(nn.Module):
  """Encodes [CLS] and patches; gives the last state of [CLS]."""

  config: TransformerConfig
  num_patches: int
  patch: int

  @nn.compact
  def __call__(self, batch, *, deterministic: bool):
    c = self.config
    normal = nn.initializers.truncated_normal(c.init_std)
    N, D = self.num_patches, c.width
    cls_D = self.param("cls", normal, (D,))
    position_SD = self.param("position", normal, (1 + N, D))
    patches_BNP = patches.normalised(batch.image_BHWC, self.patch)
    patches_BND = linear.dense(c, D, name="project")(
      patches_BNP.astype(c.dtype)
    )
    shape = (patches_BND.shape[0], 1, D)
    cls_B1D = jnp.broadcast_to(linear.spread(c, cls_D, shape), shape)
    x_BSD = jnp.concatenate([cls_B1D, patches_BND], axis=1) + position_SD
    norm = layers.layer_norm(name="embed_norm", epsilon=c.epsilon)
    lengths_B = 1 + jnp.where(batch.has_image_B, N, 0)
    x_BSD = layers.Encoder(c, name="encoder")(
      norm(x_BSD).astype(c.dtype),
      lengths_B.astype(jnp.int32),
      deterministic=deterministic,
    )
    return x_BSD[:, 0]


class TitleTower(nn.Module):
  """Encodes [CLS] and a title; gives the last state of its [SEP]."""

  config: TransformerConfig
  vocab_size: int
  pad: int
  cls: int
  sep: int
  max_title_tokens: int

  @nn.compact
  def __call__(self, batch, *, deterministic: bool):
    c = self.config
    normal = nn.initializers.truncated_normal(c.init_std)
    token_VD = self.param("word", normal, (self.vocab_size, c.width))
    position_SD = self.param(
      "position", normal, (1 + self.max_title_tokens, c.width)
    )
    tokens_BS = jnp.pad(
      batch.tokens_BT, ((0, 0), (1, 0)), constant_values=self.cls
    )
    x_BSD = (linear.look_up(c, token_VD, tokens_BS) + position_SD).astype(
      c.dtype
    )
    # The first of either, as CLIP's own tokenizer pads with its end token.
    ends_BT = (batch.tokens_BT == self.sep) | (batch.tokens_BT == self.pad)
    end_B = jnp.where(batch.has_title_B, 1 + ends_BT.argmax(-1), 0)
    x_BSD = layers.Encoder(c, name="encoder")(
      x_BSD, (1 + end_B).astype(jnp.int32), deterministic=deterministic
    )
    return jnp.take_along_axis(x_BSD, end_B[:, None, None], axis=1)[:, 0]
