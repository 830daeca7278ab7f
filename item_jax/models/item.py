"""ITEm's network: photo and title in, states of every place and [CLS] out.

The sequence is [CLS], the patches row by row, the title's words with [SEP],
padding last. A missing photo takes no part: its places are moved behind
everything else, where they count as padding, so that attention needs one
length a row and no mask.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from item_jax.errors import UserError
from item_jax.models import heads, layers, patches
from item_jax.models.layers import LAYER_NORM_EPSILON

SIDES = ("both", "image", "title")


class Predictions(NamedTuple):
  """What the five heads say; all float32. K differs for words and patches."""

  itm_B2: Any  # logits: 0 foreign title, 1 matching
  mlm_BKV: Any  # logits
  gmlm_BKV: Any
  mim_BKP: Any  # pixels
  gmim_BKP: Any


class Item(nn.Module):
  """Fields as in `item_jax.config.Model`.

  `words` is the number of rows of the word table and `pad` the id that marks
  the places after a title.
  """

  vocab_size: int
  pad: int
  image_size: int
  patch: int
  max_title_tokens: int
  layers: int
  width: int
  heads: int
  mlp: int
  dropout: float
  norm: str
  init_std: float
  dtype: Any
  attention: str
  remat: bool = False
  epsilon: float = LAYER_NORM_EPSILON
  activation: str = "gelu"  # of the encoder; the heads' is GELU
  # What the global heads read: "concat" [g; p] or "sum" g + p.
  global_head: str = "concat"

  @property
  def num_patches(self) -> int:
    return (self.image_size // self.patch) ** 2

  @property
  def patch_pixels(self) -> int:
    return self.patch**2 * 3

  def setup(self):
    normal = nn.initializers.truncated_normal(self.init_std)
    D = self.width
    self.token_VD = self.param("word", normal, (self.vocab_size, D))
    # paper: not stated; [CLS] has a vector of its own, its position included,
    # as its word, place and segment never vary.
    self.cls_D = self.param("cls", normal, (D,))
    self.hidden_D = self.param("hidden_patch", normal, (D,))
    self.patch_position_ND = self.param(
      "patch_position", normal, (self.num_patches, D)
    )
    self.title_position_TD = self.param(
      "title_position", normal, (self.max_title_tokens, D)
    )
    self.segment_2D = self.param("segment", normal, (2, D))
    self.project = layers.dense(
      D, std=self.init_std, dtype=self.dtype, name="project"
    )
    if self.norm == "post":
      self.embed_norm = layers.layer_norm(
        name="embed_norm", epsilon=self.epsilon
      )
    self.embed_dropout = nn.Dropout(self.dropout)
    self.encoder = layers.Encoder(
      self.layers,
      self.heads,
      self.mlp,
      self.dropout,
      self.norm,
      self.init_std,
      self.dtype,
      self.attention,
      self.remat,
      self.epsilon,
      self.activation,
    )
    linear = {"width": D, "std": self.init_std, "dtype": self.dtype}
    transform = linear | {"epsilon": self.epsilon}
    about_place = transform | {"join": self.global_head}
    pixels = {
      "pixels": self.patch_pixels,
      "std": self.init_std,
      "dtype": self.dtype,
    }
    self.match_head = heads.MatchHead(**linear)
    self.word_head = heads.Transform(**transform)
    self.word_decoder = heads.TokenDecoder(self.vocab_size)
    self.global_word_head = heads.GlobalTransform(**about_place)
    self.global_word_decoder = heads.TokenDecoder(self.vocab_size)
    self.patch_head = heads.Transform(**transform)
    self.patch_decoder = heads.PixelDecoder(**pixels)
    self.global_patch_head = heads.GlobalTransform(**about_place)
    self.global_patch_decoder = heads.PixelDecoder(**pixels)

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
    side: str = "both",
    deterministic: bool = True,
  ):
    """States of every place.

    Args:
      batch: `Batch`; what its arrays hold for a missing side is not looked at.
      masked_BN: bool, patches to replace by the learned vector.
      side: "image" or "title" leaves the other side's places out of the
        sequence: g as if that side were missing, for less work.
      deterministic: False applies dropout (needs a "dropout" key).

    Returns:
      [B,S,D] in the compute dtype, S = 1 + N + T, in the order [CLS], patches,
      title; g is the first. With one side S is 1 + N or 1 + T. States at
      padding and at the places of a missing side are arbitrary.
    """
    if side not in SIDES:
      raise UserError(f"side={side!r}: known are {', '.join(SIDES)}")
    B = batch.tokens_BT.shape[0]
    parts = [jnp.broadcast_to(self.cls_D, (B, 1, self.width))]
    lengths_B = jnp.ones((B,), jnp.int32)
    if side != "title":
      parts.append(self._patches(batch, masked_BN))
      lengths_B += jnp.where(batch.has_image_B, self.num_patches, 0)
    if side != "image":
      parts.append(self._title(batch))
      real_B = (batch.tokens_BT != self.pad).sum(-1)
      lengths_B += jnp.where(batch.has_title_B, real_B, 0)
    x_BSD = jnp.concatenate(parts, axis=1)
    if side == "both":
      # A missing photo: [CLS], title, then the places of the patches.
      has_image_B11 = batch.has_image_B[:, None, None]
      last_BSD = jnp.concatenate([parts[0], parts[2], parts[1]], axis=1)
      x_BSD = jnp.where(has_image_B11, x_BSD, last_BSD)
    if self.norm == "post":
      x_BSD = self.embed_norm(x_BSD)
    x_BSD = self.embed_dropout(
      x_BSD.astype(self.dtype), deterministic=deterministic
    )
    x_BSD = self.encoder(
      x_BSD, lengths_B.astype(jnp.int32), deterministic=deterministic
    )
    if side != "both":
      return x_BSD
    T = self.max_title_tokens
    back_BSD = jnp.concatenate(
      [x_BSD[:, :1], x_BSD[:, 1 + T :], x_BSD[:, 1 : 1 + T]], axis=1
    )
    return jnp.where(has_image_B11, x_BSD, back_BSD)

  def _patches(self, batch, masked_BN):
    patches_BNP = patches.to_patches(
      patches.normalise(batch.image_BHWC), self.patch
    )
    patches_BND = self.project(patches_BNP.astype(self.dtype))
    if masked_BN is not None:
      patches_BND = jnp.where(
        masked_BN[..., None], self.hidden_D.astype(self.dtype), patches_BND
      )
    return patches_BND + (self.patch_position_ND + self.segment_2D[0])

  def _title(self, batch):
    return self.token_VD[batch.tokens_BT] + (
      self.title_position_TD + self.segment_2D[1]
    )

  def predict(self, states_BSD, token_positions_BK, patch_positions_BK):
    """The five predictions at the masked places alone.

    Args:
      states_BSD: from `encode`.
      token_positions_BK: int32 in [0, T), places within the title.
      patch_positions_BK: int32 in [0, N).

    Returns:
      `Predictions`. Those of the global tasks come from states_BSD[:, 0] and
      the input position tables, from no other state.
    """
    N = self.num_patches
    g_BD = states_BSD[:, 0]
    tokens_BKD = _gather(states_BSD[:, 1 + N :], token_positions_BK)
    patches_BKD = _gather(states_BSD[:, 1 : 1 + N], patch_positions_BK)
    token_p_BKD = self.title_position_TD[token_positions_BK].astype(self.dtype)
    patch_p_BKD = self.patch_position_ND[patch_positions_BK].astype(self.dtype)
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

  def embed(self, batch, *, side: str = "both", deterministic: bool = True):
    """The product embedding: g of the unmasked pair, float32 [B,D]."""
    states_BSD = self.encode(batch, side=side, deterministic=deterministic)
    return states_BSD[:, 0].astype(jnp.float32)


def _gather(x_BLD, positions_BK):
  return jnp.take_along_axis(x_BLD, positions_BK[..., None], axis=1)
