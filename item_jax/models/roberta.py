"""A BERT-type encoder of titles; the mean of its states, or [CLS], embeds them.

Devlin et al. 2019 and Liu et al. 2019: post-LN, GELU, learned positions. The
sequence is [CLS] (RoBERTa's <s>), the title's tokens with [SEP] (</s>), padding
last. There is no table of segments: the one segment that a title is may be
added to the positions.
"""

import flax.linen as nn
import jax.numpy as jnp

from item_jax.config import Config
from item_jax.models import base, heads, layers, linear
from item_jax.models.base import Network, Vocabulary
from item_jax.models.dropout import Dropout
from item_jax.models.layers import TransformerConfig
from item_jax.models.passes import EncoderPass


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds `model.name="roberta"`."""
  m = config.model
  module = Roberta(
    config=base.encoder_config(config, attention, norm="post"),
    vocab_size=base.padded_vocab_size(config, vocabulary),
    pad=vocabulary.pad,
    cls=vocabulary.cls,
    max_title_tokens=m.max_title_tokens,
    pool=m.pool,
  )
  return Network(
    module=module,
    init=base.make_init(config, module),
    features=base.make_features(module),
    dims=m.width,
    sequence=f"{1 + m.max_title_tokens} positions",
    passes=(module.encoder_pass(),),
    modality="title",
  )


class Roberta(nn.Module):
  """Fields as in `item_jax.config.Model`.

  vocab_size: rows of the token table. pad, cls: ids of the padding and of the
  token that opens every sequence.
  """

  config: TransformerConfig  # its activation is the encoder's; the head's GELU
  vocab_size: int
  pad: int
  cls: int
  max_title_tokens: int
  pool: str = "mean"

  @nn.nowrap
  def encoder_pass(self) -> EncoderPass:
    """What `encode` costs a title."""
    return EncoderPass(self.config, positions=1 + self.max_title_tokens)

  def setup(self):
    c = self.config
    normal = nn.initializers.truncated_normal(c.init_std)
    self.token_VD = self.param("word", normal, (self.vocab_size, c.width))
    self.position_SD = self.param(
      "position", normal, (1 + self.max_title_tokens, c.width)
    )
    self.embed_norm = layers.layer_norm(name="embed_norm", epsilon=c.epsilon)
    self.embed_dropout = Dropout(c.dropout, c.dropout_bits)
    self.encoder = layers.Encoder(c)
    # The names are those of the parameters in checkpoints.
    self.word_head = heads.Transform(c)
    self.word_decoder = heads.TokenDecoder(self.vocab_size)

  def __call__(self, batch, positions_BK):
    """Touches every parameter; for initialisation and parameter tables."""
    return self.predict(self.encode(batch), positions_BK)

  def encode(self, batch, *, deterministic: bool = True):
    """States of every position.

    Args:
      batch: `Batch`; of a row without a title only [CLS] is real, whatever
        its tokens are.
      deterministic: False applies dropout (needs a "dropout" key).

    Returns:
      [B,S,D] in the compute dtype, S = 1 + T; the title's position t stands at
      1 + t. States at padding are arbitrary.
    """
    tokens_BS = jnp.pad(
      batch.tokens_BT, ((0, 0), (1, 0)), constant_values=self.cls
    )
    x_BSD = self.embed_norm(
      linear.look_up(self.config, self.token_VD, tokens_BS) + self.position_SD
    )
    x_BSD = self.embed_dropout(
      x_BSD.astype(self.config.dtype), deterministic=deterministic
    )
    return self.encoder(
      x_BSD, self._lengths(batch), deterministic=deterministic
    )

  def predict(self, states_BSD, positions_BK):
    """Logits of the masked tokens, float32 [B,K,V].

    Args:
      states_BSD: from `encode`.
      positions_BK: int32 in [0, T), positions within the title.
    """
    states_BKD = jnp.take_along_axis(
      states_BSD, 1 + positions_BK[..., None], axis=1
    )
    return self.word_decoder(self.word_head(states_BKD), self.token_VD)

  def embed(self, batch, *, deterministic: bool = True):
    """Mean of the last states over real positions, or [CLS]'s, float32 [B,D].

    [CLS] and [SEP] count in the mean; the pooler, which masked language
    modelling never trains, is not used (Reimers and Gurevych 2019).
    """
    states_BSD = self.encode(batch, deterministic=deterministic)
    if self.pool == "cls":
      return states_BSD[:, 0].astype(jnp.float32)
    lengths_B = self._lengths(batch)
    real_BS = jnp.arange(states_BSD.shape[1]) < lengths_B[:, None]
    states_BSD = jnp.where(
      real_BS[..., None], states_BSD.astype(jnp.float32), 0.0
    )
    return states_BSD.sum(1) / lengths_B[:, None]

  def _lengths(self, batch):
    real_B = (batch.tokens_BT != self.pad).sum(-1)
    return (1 + jnp.where(batch.has_title_B, real_B, 0)).astype(jnp.int32)
