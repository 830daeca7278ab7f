"""Builds ITEm's network of a config."""

from item_jax.config import Config
from item_jax.models import base, pooling, sides, stems
from item_jax.models.base import Network, Vocabulary
from item_jax.models.item_module import MODALITIES, Item, Predictions

__all__ = ["MODALITIES", "Item", "Predictions", "make_network"]


def make_network(
  config: Config, vocabulary: Vocabulary, *, attention: str
) -> Network:
  """Builds `model.name="item"`."""
  m = config.model
  stem = stems.make_stem(config)
  module = Item(
    config=base.encoder_config(config, attention),
    vocab_size=base.padded_vocab_size(config, vocabulary),
    pad=vocabulary.pad,
    image_size=m.image_size,
    patch=m.image_size // stem.side if stem else m.patch,
    max_title_tokens=m.max_title_tokens,
    global_head=m.global_head,
    stem=stem,
    target=config.loss.mim_target,
    sides_width=m.sides,
    cls_share=m.cls_share,
    whole_words=m.whole_words,
  )
  one, known = module.encoder_pass(), sides.channels(stem)
  beside = dict.fromkeys((*known, "title"), m.sides)
  return Network(
    module=module,
    init=base.make_init(config, module),
    features=base.make_features(module),
    pools=("sides",) * bool(m.sides) + pooling.POOLS,
    pool=base.make_pool(module),
    parts={
      "concat": dict.fromkeys(("cls", "patches", "tokens"), m.width),
      "sides": {"cls": m.width, **beside},
    },
    dims=m.width + sum(beside.values()),
    sequence=f"{one.positions} positions",
    passes=module.passes(),
    other_flops=2.0 * m.sides * (sum(known.values()) + m.max_title_tokens),
    frozen_flops=stem.frozen_flops if stem else 0.0,
  )
