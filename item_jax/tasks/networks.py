"""A model's name and sizes in; what every objective and every embedding needs
to know of a model out."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data.tokenizer import Tokenizer
from item_jax.models import cost
from item_jax.models.clip import Clip
from item_jax.models.item import Item
from item_jax.models.resnet import ResNet
from item_jax.models.roberta import Roberta
from item_jax.tasks.base import BATCH_STATS

STAGES = (3, 4, 6, 3)  # blocks of ResNet50


class Network(NamedTuple):
  """A model as others see it; every function is pure.

  init(key) -> params, of all that an embedding needs and nothing more.
  features(params, batch, *, train, key) -> (float32 [B,D], batch_stats): what
    the embedding is made of; `batch_stats` as in `objectives.base`.
  side: "image" or "title", where it sees that alone.
  """

  module: Any  # linen
  init: Callable
  features: Callable
  dims: int
  side: str | None
  sequence: str  # how long what it reads of a pair is, in words
  embed_flops: float  # of a pair

  def embed(self, params, batch):
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


def padded_vocab_size(config: Config, tokenizer: Tokenizer) -> int:
  """Rows of the word table: the vocabulary, padded."""
  multiple = config.model.vocab_pad_multiple
  return -(-tokenizer.size // multiple) * multiple


def make_network(
  config: Config, tokenizer: Tokenizer, *, attention: str
) -> Network:
  """Builds what `config.model.name` names."""
  makers = {
    "item": _item,
    "resnet50": _resnet,
    "roberta": _roberta,
    "clip": _clip,
  }
  return makers[config.model.name](config, tokenizer, attention)


def attention_shapes(config: Config) -> list[tuple[int, int, int, bool]]:
  """(places, heads, depth, causal) of each encoder of the network."""
  m, c = config.model, config.clip
  depth = m.width // m.heads
  patches = (m.image_size // m.patch) ** 2
  title = 1 + m.max_title_tokens
  item = [(title + patches, m.heads, depth, False)]
  views = config.align.views if config.task == "item" else "none"
  if config.loss.align and views in ("sides", "both"):
    item += [(1 + patches, m.heads, depth, False)]  # a side by itself
    item += [(title, m.heads, depth, False)]
  return {
    "item": item,
    "resnet50": [],
    "roberta": [(title, m.heads, depth, False)],
    "clip": [
      (1 + patches, m.heads, depth, False),
      (title, c.text_heads, c.text_width // c.text_heads, True),
    ],
  }[m.name]


def _sizes(config: Config) -> dict:
  """The fields that the transformers share."""
  m = config.model
  return {
    "layers": m.layers,
    "width": m.width,
    "heads": m.heads,
    "mlp": m.mlp,
    "dropout": m.dropout,
    "activation": m.activation,
    "epsilon": m.epsilon,
    "init_std": m.init_std,
    "dtype": jnp.dtype(m.dtype),
    "remat": m.remat,
  }


def _plain_init(config: Config, module, method: str) -> Callable:
  def init(key):
    made = module.init(key, example_batch(config), method=method)
    return dict(made["params"])

  return init


def _dropout(train: bool, key) -> dict:
  return {"rngs": {"dropout": key}} if train and key is not None else {}


def _item(config: Config, tokenizer: Tokenizer, attention: str) -> Network:
  m = config.model
  module = Item(
    vocab_size=padded_vocab_size(config, tokenizer),
    pad=tokenizer.pad,
    image_size=m.image_size,
    patch=m.patch,
    max_title_tokens=m.max_title_tokens,
    norm=m.norm,
    global_head=m.global_head,
    attention=attention,
    **_sizes(config),
  )

  def features(params, batch, *, train, key=None):
    states_BSD = module.apply(
      {"params": params},
      batch,
      deterministic=not train,
      method="encode",
      **_dropout(train, key),
    )
    return states_BSD[:, 0].astype(jnp.float32), {}

  return Network(
    module=module,
    init=_plain_init(config, module, "embed"),
    features=features,
    dims=m.width,
    side=None,
    sequence=f"{1 + module.num_patches + m.max_title_tokens} places",
    embed_flops=cost.embed_flops_per_sample(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=module.num_patches,
      patch_pixels=module.patch_pixels,
      max_title_tokens=m.max_title_tokens,
    ),
  )


def _resnet(config: Config, tokenizer: Tokenizer, attention: str) -> Network:
  del tokenizer, attention
  r = config.resnet
  module = ResNet(
    stages=STAGES,
    width=r.width,
    norm=r.norm,
    pixels=r.pixels,
    dtype=jnp.dtype(config.model.dtype),
  )

  def init(key):
    made = module.init(key, example_batch(config), train=False)
    params = dict(made["params"])
    if "batch_stats" in made:
      params[BATCH_STATS] = made["batch_stats"]
    return params

  def features(params, batch, *, train, key=None):
    del key
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
    init=init,
    features=features,
    dims=module.features,
    side="image",
    sequence=f"a photo of {config.model.image_size} pixels",
    embed_flops=cost.resnet_flops(
      stages=STAGES, width=r.width, image_size=config.model.image_size
    ),
  )


def _roberta(config: Config, tokenizer: Tokenizer, attention: str) -> Network:
  m = config.model
  module = Roberta(
    vocab_size=padded_vocab_size(config, tokenizer),
    pad=tokenizer.pad,
    cls=tokenizer.cls,
    max_title_tokens=m.max_title_tokens,
    attention=attention,
    **_sizes(config),
  )

  def features(params, batch, *, train, key=None):
    return module.apply(
      {"params": params},
      batch,
      deterministic=not train,
      method="embed",
      **_dropout(train, key),
    ), {}

  return Network(
    module=module,
    init=_plain_init(config, module, "embed"),
    features=features,
    dims=m.width,
    side="title",
    sequence=f"{1 + m.max_title_tokens} places",
    embed_flops=cost.roberta_flops(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      max_title_tokens=m.max_title_tokens,
    ),
  )


def _clip(config: Config, tokenizer: Tokenizer, attention: str) -> Network:
  m, c = config.model, config.clip
  module = Clip(
    vocab_size=padded_vocab_size(config, tokenizer),
    pad=tokenizer.pad,
    cls=tokenizer.cls,
    sep=tokenizer.sep,
    image_size=m.image_size,
    patch=m.patch,
    max_title_tokens=m.max_title_tokens,
    text_layers=c.text_layers,
    text_width=c.text_width,
    text_heads=c.text_heads,
    text_mlp=c.text_mlp,
    projection=c.projection,
    attention=attention,
    **_sizes(config),
  )
  embed = functools.partial(module.apply, method="embed", share=c.share)

  def features(params, batch, *, train, key=None):
    return embed(
      {"params": params},
      batch,
      deterministic=not train,
      **_dropout(train, key),
    ), {}

  return Network(
    module=module,
    init=_plain_init(config, module, "__call__"),
    features=features,
    dims=2 * c.projection,
    side=None,
    sequence=f"{1 + module.num_patches} + {1 + m.max_title_tokens} places",
    embed_flops=cost.clip_flops(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=module.num_patches,
      patch_pixels=m.patch**2 * 3,
      max_title_tokens=m.max_title_tokens,
      text_layers=c.text_layers,
      text_width=c.text_width,
      text_mlp=c.text_mlp,
      projection=c.projection,
    ),
  )
