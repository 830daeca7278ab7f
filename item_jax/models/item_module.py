"""ITEm's network: one transformer over the patches of an image and a title.

The sequence is [CLS], the patches row by row, the title's tokens with [SEP],
padding last. A missing image takes no part: its positions are moved behind
everything else, where they count as padding, so that attention needs one
length a row and no mask.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from item_jax.errors import UserError
from item_jax.models import (
  base,
  heads,
  layers,
  linear,
  patches,
  pooling,
  sides,
)
from item_jax.models.dropout import Dropout
from item_jax.models.layers import TransformerConfig
from item_jax.models.passes import EncoderPass, Pass
from item_jax.models.stem import Stem, read_places

MODALITIES = ("both", "image", "title")
# The methods of `Item` that make the inputs at each modality's positions, for
# who follows what comes in by them.
INPUTS = {"image": "_patches", "title": "_title"}


class Predictions(NamedTuple):
  """What the five heads predict, all float32.

  K differs for tokens and patches.
  """

  itm_B2: Any  # logits: 0 negative pair, 1 matching
  mlm_BKV: Any  # logits
  gmlm_BKV: Any
  mim_BKP: Any  # pixels, or a stem's features
  gmim_BKP: Any


class Item(nn.Module):
  """Fields as in `item_jax.config.Model`.

  vocab_size: rows of the token table. pad: the id after a title's end.
  """

  config: TransformerConfig  # its activation is the encoder's; the heads' GELU
  vocab_size: int
  pad: int
  image_size: int
  patch: int
  max_title_tokens: int
  # What the global heads read: "concat" [g; p] or "sum" g + p.
  global_head: str = "concat"
  # Whose features take the place of patches, which are then called so too.
  stem: Stem | None = None
  target: str = "pixels"  # or "features": what MIM and GMIM predict of a patch
  sides_width: int = 0
  cls_share: float = 0.1
  whole_words: bool = True  # of the title's side

  @property
  def num_patches(self) -> int:
    side = self.stem.side if self.stem else self.image_size // self.patch
    return side**2

  @property
  def patch_pixels(self) -> int:
    return self.patch**2 * 3

  @property
  def patch_values(self) -> int:
    """Numbers that the projection reads of a patch."""
    return self.stem.channels if self.stem else self.patch_pixels

  @property
  def target_values(self) -> int:
    """Numbers that MIM and GMIM predict of a patch."""
    features = self.target == "features"
    return self.patch_values if features else self.patch_pixels

  @nn.nowrap
  def encoder_pass(self, modality: str = "both") -> EncoderPass:
    """What `encode` costs a pair."""
    patches_read = 0 if modality == "title" else self.num_patches
    tokens_read = 0 if modality == "image" else self.max_title_tokens
    return EncoderPass(
      self.config,
      positions=1 + patches_read + tokens_read,
      num_patches=patches_read,
      patch_pixels=self.patch_values,
    )

  @nn.nowrap
  def passes(self, modality: str = "both") -> tuple[Pass, ...]:
    """All passes of a pair that `encode` takes, the stem's among them."""
    of_stem = self.stem.passes if self.stem and modality != "title" else ()
    return (self.encoder_pass(modality), *of_stem)

  def setup(self):
    c = self.config
    normal = nn.initializers.truncated_normal(c.init_std)
    D = c.width
    self.token_VD = self.param("word", normal, (self.vocab_size, D))
    # paper: not stated; [CLS] has a vector of its own, its position included,
    # as its token, position and segment never vary.
    self.cls_D = self.param("cls", normal, (D,))
    self.masked_D = self.param("hidden_patch", normal, (D,))
    self.patch_position_ND = self.param(
      "patch_position", normal, (self.num_patches, D)
    )
    self.title_position_TD = self.param(
      "title_position", normal, (self.max_title_tokens, D)
    )
    self.segment_2D = self.param("segment", normal, (2, D))
    if self.stem:
      self.stem_params = self.param(base.STEM, self.stem.init)
    if self.sides_width:
      self.sides = sides.Sides(
        self.sides_width,
        sides.channels(self.stem),
        self.vocab_size,
        self.cls_share,
        self.whole_words,
        name=base.SIDES,
      )
    self.project = linear.dense(c, D, name="project")
    if c.norm == "post":
      self.embed_norm = layers.layer_norm(name="embed_norm", epsilon=c.epsilon)
    self.embed_dropout = Dropout(c.dropout, c.dropout_bits)
    self.encoder = layers.Encoder(c)
    # The names are those of the parameters in checkpoints.
    self.match_head = heads.MatchHead(c)
    self.word_head = heads.Transform(c)
    self.word_decoder = heads.TokenDecoder(self.vocab_size)
    self.global_word_head = heads.GlobalTransform(c, self.global_head)
    self.global_word_decoder = heads.TokenDecoder(self.vocab_size)
    self.patch_head = heads.Transform(c)
    self.patch_decoder = heads.PixelDecoder(c, self.target_values)
    self.global_patch_head = heads.GlobalTransform(c, self.global_head)
    self.global_patch_decoder = heads.PixelDecoder(c, self.target_values)

  def __call__(self, batch, token_positions_BK, patch_positions_BK):
    """Touches every parameter; for initialisation and parameter tables."""
    return self.predict(
      self.encode(batch), token_positions_BK, patch_positions_BK
    )

  def encode(
    self,
    batch,
    masked_BN=None,
    *,
    modality: str = "both",
    deterministic: bool = True,
  ):
    """States of every position.

    Args:
      batch: `Batch`; what its arrays hold for a missing modality is not
        looked at.
      masked_BN: bool, patches to replace by the learned vector.
      modality: "image" or "title" leaves the other one's positions out of the
        sequence: g as if that modality were missing, for less work.
      deterministic: False applies dropout (needs a "dropout" key).

    Returns:
      [B,S,D] in the compute dtype, S = 1 + N + T, in the order [CLS], patches,
      title; g is the first. With one modality S is 1 + N or 1 + T. States at
      padding and at the positions of a missing modality are arbitrary.
    """
    if modality not in MODALITIES:
      raise UserError(
        f"modality={modality!r}: known are {', '.join(MODALITIES)}"
      )
    B = batch.tokens_BT.shape[0]
    parts = [jnp.broadcast_to(self.cls_D, (B, 1, self.config.width))]
    lengths_B = jnp.ones((B,), jnp.int32)
    if modality != "title":
      parts.append(self._patches(batch, masked_BN))
      lengths_B += jnp.where(batch.has_image_B, self.num_patches, 0)
    if modality != "image":
      parts.append(self._title(batch))
      real_B = (batch.tokens_BT != self.pad).sum(-1)
      lengths_B += jnp.where(batch.has_title_B, real_B, 0)
    x_BSD = jnp.concatenate(parts, axis=1)
    has_image_B11 = batch.has_image_B[:, None, None]
    if modality == "both":
      # A missing image: [CLS], title, then the positions of the patches.
      last_BSD = jnp.concatenate([parts[0], parts[2], parts[1]], axis=1)
      x_BSD = jnp.where(has_image_B11, x_BSD, last_BSD)
    if self.config.norm == "post":
      x_BSD = self.embed_norm(x_BSD)
    x_BSD = self.embed_dropout(
      x_BSD.astype(self.config.dtype), deterministic=deterministic
    )
    x_BSD = self.encoder(
      x_BSD, lengths_B.astype(jnp.int32), deterministic=deterministic
    )
    if modality != "both":
      return x_BSD
    T = self.max_title_tokens
    back_BSD = jnp.concatenate(
      [x_BSD[:, :1], x_BSD[:, 1 + T :], x_BSD[:, 1 : 1 + T]], axis=1
    )
    return jnp.where(has_image_B11, x_BSD, back_BSD)

  def _patches(self, batch, masked_BN):
    if self.stem:
      patches_BNP = read_places(self.stem, self.stem_params, batch, masked_BN)
    else:
      patches_BNP = patches.normalised(batch.image_BHWC, self.patch)
    patches_BND = self.project(patches_BNP.astype(self.config.dtype))
    if masked_BN is not None:
      patches_BND = jnp.where(
        masked_BN[..., None],
        linear.spread(self.config, self.masked_D, patches_BND.shape),
        patches_BND,
      )
    return patches_BND + (self.patch_position_ND + self.segment_2D[0])

  def _title(self, batch):
    rows_BTD = linear.look_up(self.config, self.token_VD, batch.tokens_BT)
    return rows_BTD + (self.title_position_TD + self.segment_2D[1])

  def predict(self, states_BSD, token_positions_BK, patch_positions_BK):
    """The five predictions, at the masked positions only.

    Args:
      states_BSD: from `encode`.
      token_positions_BK: int32 in [0, T), positions within the title.
      patch_positions_BK: int32 in [0, N).

    Returns:
      `Predictions`. Those of the global tasks come from states_BSD[:, 0] and
      the input position tables, from no other state.
    """
    N, dtype = self.num_patches, self.config.dtype
    g_BD = states_BSD[:, 0]
    places_BK = [1 + N + token_positions_BK, 1 + patch_positions_BK]
    masked_BKD = jnp.take_along_axis(
      states_BSD, jnp.concatenate(places_BK, axis=1)[..., None], axis=1
    )
    tokens_BKD, patches_BKD = jnp.split(
      masked_BKD, [token_positions_BK.shape[1]], axis=1
    )
    token_p_BKD = self.title_position_TD[token_positions_BK].astype(dtype)
    patch_p_BKD = self.patch_position_ND[patch_positions_BK].astype(dtype)
    return Predictions(
      itm_B2=self.match_head(g_BD),
      mlm_BKV=self.word_decoder(self.word_head(tokens_BKD), self.token_VD),
      gmlm_BKV=self.global_word_decoder(
        self.global_word_head(g_BD, token_p_BKD), self.token_VD
      ),
      mim_BKP=self.patch_decoder(self.patch_head(patches_BKD)),
      gmim_BKP=self.global_patch_decoder(
        self.global_patch_head(g_BD, patch_p_BKD)
      ),
    )

  def embed(
    self,
    batch,
    masked_BN=None,
    *,
    modality: str = "both",
    deterministic: bool = True,
  ):
    """The product embedding, float32 [B,D]; arguments as of `encode`.

    It is g; with sides, g and they, side by side.
    """
    states_BSD = self.encode(
      batch, masked_BN, modality=modality, deterministic=deterministic
    )
    g_BD = states_BSD[:, 0].astype(jnp.float32)
    if not self.sides_width:
      return g_BD
    real_BT = (batch.tokens_BT != self.pad) & batch.has_title_B[:, None]
    known = self.image_features(batch, masked_BN)
    return self.sides(
      g_BD,
      {name: x_BC * (modality != "title") for name, x_BC in known.items()},
      batch.tokens_BT,
      real_BT & (modality != "image"),
    )

  def image_features(self, batch, masked_BN=None) -> dict:
    """What the sides know of an image: `sides.image_features`."""
    params = self.stem_params if self.stem else None
    return sides.image_features(self.stem, params, batch, masked_BN)

  def pool(self, batch):
    """Embeddings of the unmasked pair, {name: vectors}: `pooling.pool`."""
    real_BN = jnp.tile(batch.has_image_B[:, None], (1, self.num_patches))
    real_BT = (batch.tokens_BT != self.pad) & batch.has_title_B[:, None]
    found = pooling.pool(self.encode(batch), real_BN, real_BT)
    return {"sides": self.embed(batch), **found} if self.sides_width else found
