"""A BERT-type encoder of titles: words in, states and their mean out.

Devlin et al. 2019 and Liu et al. 2019: post-LN, GELU, learned positions. The
sequence is [CLS] (RoBERTa's <s>), the title's words with [SEP] (</s>), padding
last. There is no table of segments: the one segment that a title is may be
added to the positions.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from item_jax.models import heads, layers
from item_jax.models.layers import LAYER_NORM_EPSILON


class Roberta(nn.Module):
  """Fields as in `item_jax.config.Model`.

  words: rows of the word table. pad, cls: ids of the padding and of the word
  that opens every sequence.
  """

  vocab_size: int
  pad: int
  cls: int
  max_title_tokens: int
  layers: int
  width: int
  heads: int
  mlp: int
  dropout: float
  init_std: float
  dtype: Any
  attention: str
  remat: bool = False
  epsilon: float = LAYER_NORM_EPSILON
  activation: str = "gelu"  # of the encoder; the head's is GELU

  def setup(self):
    normal = nn.initializers.truncated_normal(self.init_std)
    D = self.width
    self.token_VD = self.param("word", normal, (self.vocab_size, D))
    self.position_SD = self.param(
      "position", normal, (1 + self.max_title_tokens, D)
    )
    self.embed_norm = layers.layer_norm(name="embed_norm", epsilon=self.epsilon)
    self.embed_dropout = nn.Dropout(self.dropout)
    self.encoder = layers.Encoder(
      self.layers,
      self.heads,
      self.mlp,
      self.dropout,
      "post",
      self.init_std,
      self.dtype,
      self.attention,
      self.remat,
      self.epsilon,
      self.activation,
    )
    self.word_head = heads.Transform(D, self.init_std, self.dtype, self.epsilon)
    self.word_decoder = heads.TokenDecoder(self.vocab_size)

  def __call__(self, batch, positions_BK):
    """Touches every parameter; for initialisation and parameter tables."""
    return self.predict(self.encode(batch), positions_BK)

  def encode(self, batch, *, deterministic: bool = True):
    """States of every place.

    Args:
      batch: `Batch`; of a row without a title only [CLS] is real, whatever
        its words are.
      deterministic: False applies dropout (needs a "dropout" key).

    Returns:
      [B,S,D] in the compute dtype, S = 1 + T; the title's place t stands at
      1 + t. States at padding are arbitrary.
    """
    tokens_BS = jnp.pad(
      batch.tokens_BT, ((0, 0), (1, 0)), constant_values=self.cls
    )
    x_BSD = self.embed_norm(self.token_VD[tokens_BS] + self.position_SD)
    x_BSD = self.embed_dropout(
      x_BSD.astype(self.dtype), deterministic=deterministic
    )
    return self.encoder(
      x_BSD, self._lengths(batch), deterministic=deterministic
    )

  def predict(self, states_BSD, positions_BK):
    """Logits of the hidden words, float32 [B,K,V].

    Args:
      states_BSD: from `encode`.
      positions_BK: int32 in [0, T), places within the title.
    """
    states_BKD = jnp.take_along_axis(
      states_BSD, 1 + positions_BK[..., None], axis=1
    )
    return self.word_decoder(self.word_head(states_BKD), self.token_VD)

  def embed(self, batch, *, deterministic: bool = True):
    """Mean of the last states over real places, float32 [B,D].

    [CLS] and [SEP] are among them; the pooler, which masked language
    modelling never trains, is not used (Reimers and Gurevych 2019).
    """
    states_BSD = self.encode(batch, deterministic=deterministic)
    lengths_B = self._lengths(batch)
    real_BS = jnp.arange(states_BSD.shape[1]) < lengths_B[:, None]
    states_BSD = jnp.where(
      real_BS[..., None], states_BSD.astype(jnp.float32), 0.0
    )
    return states_BSD.sum(1) / lengths_B[:, None]

  def _lengths(self, batch):
    real_B = (batch.tokens_BT != self.pad).sum(-1)
    return (1 + jnp.where(batch.has_title_B, real_B, 0)).astype(jnp.int32)
