"""A model and batches small enough to compile in seconds.

Width 24 and patches of 27 pixels: a swapped axis cannot pass unseen.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Loss, Mask
from item_jax.models.clip import Clip
from item_jax.models.item import Item
from item_jax.models.layers import TransformerConfig
from item_jax.objectives import item

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL = (PAD, UNK, CLS, SEP, MASK)
WORDS = 40
IMAGE, PATCH, PLACES, WIDTH = 12, 3, 8, 24
N = (IMAGE // PATCH) ** 2


ENCODER = {
  "layers": 2,
  "width": WIDTH,
  "heads": 2,
  "mlp": 40,
  "init_std": 0.2,
}
_ENCODER_FIELDS = {x.name for x in dataclasses.fields(TransformerConfig)}


class Vocabulary(NamedTuple):
  """What is read of a tokenizer."""

  size: int = WORDS
  pad: int = PAD
  cls: int = CLS
  sep: int = SEP
  mask: int = MASK
  special: tuple[int, ...] = SPECIAL


def build(module, **fields):
  """A module of one encoder, from fields of both."""
  inner = {k: v for k, v in fields.items() if k in _ENCODER_FIELDS}
  outer = {k: v for k, v in fields.items() if k not in _ENCODER_FIELDS}
  return module(config=TransformerConfig(**(ENCODER | inner)), **outer)


def make_model(**changes) -> Item:
  fields = {
    "vocab_size": WORDS,
    "pad": PAD,
    "image_size": IMAGE,
    "patch": PATCH,
    "max_title_tokens": PLACES,
  }
  return build(Item, **(fields | changes))


def build_clip(**fields) -> Clip:
  """A Clip; a field of `text_` is the title tower's, one without both's."""
  shared = {k: v for k, v in fields.items() if k in _ENCODER_FIELDS}
  text = {
    k.removeprefix("text_"): v
    for k, v in fields.items()
    if k.startswith("text_")
  }
  causal = shared.pop("causal", True)
  encoder = ENCODER | shared | {"norm": "pre"}
  outer = {
    k: v
    for k, v in fields.items()
    if k not in _ENCODER_FIELDS and not k.startswith("text_")
  }
  return Clip(
    image_config=TransformerConfig(**encoder),
    title_config=TransformerConfig(**encoder | text | {"causal": causal}),
    **outer,
  )


def with_encoder(model, **changes):
  """The same model with other fields of its encoder."""
  return model.clone(config=dataclasses.replace(model.config, **changes))


def make_batch(rows: int = 8, seed: int = 0, lengths=None) -> Batch:
  """Random photos and titles; row i is product i."""
  rng = np.random.default_rng(seed)
  tokens_BT = np.zeros((rows, PLACES), np.int32)
  for row in range(rows):
    length = lengths[row] if lengths else rng.integers(2, PLACES)
    tokens_BT[row, :length] = rng.integers(len(SPECIAL), WORDS, length)
    tokens_BT[row, length] = SEP
  return Batch(
    image_BHWC=rng.integers(0, 256, (rows, IMAGE, IMAGE, 3), np.uint8),
    tokens_BT=tokens_BT,
    has_image_B=np.ones(rows, bool),
    has_title_B=np.ones(rows, bool),
    product_B=np.arange(rows, dtype=np.uint32),
    title_B=np.arange(100, 100 + rows, dtype=np.uint32),
    category_B=np.arange(200, 200 + rows, dtype=np.uint32) // 2,
    bad_B=np.zeros(rows, bool),
  )


def init(model: Item, seed: int = 0):
  place = jnp.zeros((1, 1), jnp.int32)
  return jax.jit(model.init)(jax.random.key(seed), make_batch(1), place, place)[
    "params"
  ]


@functools.partial(jax.jit, static_argnums=0)
def states(model: Item, params, batch, hidden=None):
  """States of every place, without dropout."""
  return model.apply({"params": params}, batch, hidden, method="encode")


@functools.partial(jax.jit, static_argnums=0)
def predict(model: Item, params, states, places):
  """The five predictions at the same places of title and photo."""
  return model.apply(
    {"params": params}, states, places, places, method="predict"
  )


def make_objective(
  model: Item, vocabulary: Vocabulary | None = None, **changes
):
  """The five losses; `changes` are options of `config.mask` and `.loss`."""
  mask, loss = Mask(title_rate=0.3, patch_rate=0.3), Loss()
  masks = {x.name for x in dataclasses.fields(Mask)}
  for name, value in changes.items():
    setattr(mask if name in masks else loss, name, value)
  return item.make_losses(model, mask, loss, vocabulary or Vocabulary())
