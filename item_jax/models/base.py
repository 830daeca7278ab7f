"""States what objectives, tasks and embeddings need to know of a model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.models.layers import TransformerConfig
from item_jax.models.passes import Pass

# The entry of params that holds the stem's.
STEM = "image_stem"
SIDES = "sides"  # and that of `models.sides`
# Batch norm's running statistics: an entry of params that no gradient moves.
BATCH_STATS = "statistics"


class Vocabulary(Protocol):
  """What models and objectives read of a tokenizer."""

  @property
  def size(self) -> int:
    """Ids go from 0 to size - 1, special tokens included."""
    ...

  @property
  def pad(self) -> int: ...
  @property
  def cls(self) -> int: ...
  @property
  def sep(self) -> int: ...
  @property
  def mask(self) -> int: ...
  @property
  def special(self) -> tuple[int, ...]:
    """Ids of all special tokens, ascending."""
    ...


class Network(NamedTuple):
  """A model as others see it; every function is pure.

  init(key) -> params, of all that an embedding needs and nothing more.
  features(params, batch, *, train, key) -> (float32 [B,D], batch_stats): what
    the embedding is made of; `batch_stats` as in `objectives.base`.
  pool(params, batch) -> {name: float32 [B,E]} of all `pools`, other vectors
    that its states give; None where there is its embedding only.
  """

  module: Any  # linen; an objective may call methods that it knows
  init: Callable
  features: Callable
  dims: int  # D
  sequence: str  # how long what it reads of a pair is, in words
  # Forward, of a pair; what lies outside of them adds to `embed_flops`.
  passes: tuple[Pass, ...] = ()
  other_flops: float = 0.0
  # Of what no gradient moves: forward only, in training too. 0 where a step
  # reads it from a file.
  frozen_flops: float = 0.0
  modality: str | None = None  # "image" or "title", where it sees only that
  # The option that makes it need the whole batch in one piece, if any.
  whole_batch: str = ""
  pools: tuple[str, ...] = ("own",)  # the first one is the embedding
  pool: Callable | None = None
  # {pool: {part: width}} of those that are parts side by side, [CLS] first,
  # each of a length that is the same in all rows, or zeros.
  parts: Mapping[str, Mapping[str, int]] = MappingProxyType({})

  @property
  def moved_flops(self) -> float:
    """Forward FLOPs of a pair of what training moves."""
    return sum((one.flops for one in self.passes), 0.0) + self.other_flops

  @property
  def embed_flops(self) -> float:
    """FLOPs of the embedding of a pair."""
    return self.moved_flops + self.frozen_flops

  @property
  def train_flops(self) -> float:
    """FLOPs of the same forward and backward (see `objectives.item`)."""
    return 3 * self.moved_flops + self.frozen_flops

  def embed(self, params, batch: Batch):
    """float32 [B,D], not yet of unit length."""
    return self.features(params, batch, train=False)[0]


def example_batch(config: Config, rows: int = 1) -> Batch:
  """A Batch of the right shapes, of zeros."""
  m = config.model
  return Batch(
    image_BHWC=np.zeros((rows, m.image_size, m.image_size, 3), np.uint8),
    tokens_BT=np.zeros((rows, m.max_title_tokens), np.int32),
    has_image_B=np.ones((rows,), bool),
    has_title_B=np.ones((rows,), bool),
    product_B=np.arange(rows, dtype=np.uint32),
    title_B=np.arange(rows, dtype=np.uint32),
    category_B=np.zeros((rows,), np.uint32),
    bad_B=np.zeros((rows,), bool),
  )


def padded_vocab_size(config: Config, vocabulary: Vocabulary) -> int:
  """Rows of the token table: the vocabulary, padded."""
  multiple = config.model.vocab_pad_multiple
  return -(-vocabulary.size // multiple) * multiple


def encoder_config(
  config: Config, attention: str, **changes
) -> TransformerConfig:
  """The encoder of `config.model`, with `changes` to its fields."""
  fields = {name: getattr(config.model, name) for name in _ENCODER_OPTIONS}
  fields |= {name: getattr(config.mesh, name) for name in _MESH_OPTIONS}
  fields |= {"dtype": jnp.dtype(config.model.dtype), "attention": attention}
  return TransformerConfig(**(fields | changes))


_ENCODER_OPTIONS = (
  *("layers", "width", "heads", "mlp", "dropout", "dropout_bits", "norm"),
  *("activation", "epsilon", "init_std", "remat"),
)
_MESH_OPTIONS = ("devices", "fsdp", "reduce_dtype")


def make_init(config: Config, module, method: str = "embed") -> Callable:
  """key -> params that `method` of a linen module touches."""

  def init(key):
    made = module.init(key, example_batch(config), method=method)
    return dict(made["params"])

  return init


def make_features(module, method: str = "embed", **options) -> Callable:
  """`Network.features` of a linen module without running statistics."""

  def features(params, batch, *, train, key=None):
    rngs = {"rngs": {"dropout": key}} if train and key is not None else {}
    embedding_BD = module.apply(
      {"params": params},
      batch,
      deterministic=not train,
      method=method,
      **rngs,
      **options,
    )
    return embedding_BD, {}

  return features


def with_dropout(module, method: str) -> Callable:
  """(params, *inputs, key, **options) -> what a method gives in training.

  `key` is dropout's.
  """

  def run(params, *inputs, key, **options):
    return module.apply(
      {"params": params},
      *inputs,
      deterministic=False,
      rngs={"dropout": key},
      method=method,
      **options,
    )

  return run


def make_pool(module) -> Callable:
  """`Network.pool` of a linen module that has a method of this name."""

  def pool(params, batch: Batch) -> dict:
    return module.apply({"params": params}, batch, method="pool")

  return pool
