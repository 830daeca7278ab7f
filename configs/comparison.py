"""Configures the paper's comparison: what systems share, and how each differs.

item-jax compare --data=DATA --out=DIR --size=tiny --budget=300s
item-jax train --config=configs/comparison.py:clip,tiny --workdir=W \
  --config.data.path=DATA

Sizes: tiny for two CPU cores and minutes a system, small for one GPU, base is
the paper's. Batches, their order, pixels, titles, masks, optimizer, schedule
and the peak that the learning rates are tried around are the same for every
system; those behind a stem of other weights have a config of their own.
"""

import runpy
from collections.abc import Callable
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError

# Rows of the table; the others are compared with the first.
VARIANTS = (
  "item",
  "item_align",
  "item_align_both",
  "item_sides",
  "item_stem",
  "item_products",
  "item_products_sides",
  "item_products_stem",
  "item_supervised",
  "resnet50",
  "roberta",
  "clip",
)
# More rows, of vectors already made: those of image and title are fused. A
# single name is a model of two towers.
FUSIONS = {
  "resnet50+roberta": ("resnet50", "roberta"),
  "clip": ("clip",),
}
# Rows of weights of other projects, as they are, whatever the size.
FROZEN = ("frozen_image", "frozen_text")
# The rows that need weights: the flag that names their folder, and the options
# that are set to it.
WEIGHTS = {
  "frozen_image": ("image_weights", ("start_from",)),
  "frozen_text": ("text_weights", ("start_from", "data.tokenizer")),
  "item_stem": ("image_weights", ("stem_from",)),
  "item_products_stem": ("image_weights", ("stem_from",)),
}
# More rows, of rows joined by weights that validation chooses, each centred or
# whitened where it gains there.
HYBRIDS = (
  "thumbnail+tfidf",
  "frozen_image+tfidf",
  "frozen_text+tfidf",
  "frozen_image+frozen_text",
  "frozen_image+frozen_text+tfidf",
  *(f"{name}+tfidf" for name in VARIANTS),
)


def get_config(variant: str = "item") -> Config:
  """Builds the config of "SYSTEM" or "SYSTEM,SIZE"; by default tiny."""
  name, _, size = variant.partition(",")
  size = size or "tiny"
  if name not in (*VARIANTS, *FROZEN) or size not in SIZES:
    raise UserError(
      f"{variant!r}: systems are {', '.join((*VARIANTS, *FROZEN))}; sizes are"
      f" {', '.join(SIZES)}"
    )
  if name in AS_THEY_ARE:
    return AS_THEY_ARE[name]()
  if name in STEMS:
    file, *stem = STEMS[name]
    return _load(file, "get_config")(stem[size != "tiny"])
  config = SIZES[size]()
  config.checkpoint.best = "both/map@10"  # by one measure, also what predicts
  SYSTEMS[name](config)
  return config


def _item(config: Config) -> None:
  """The paper's five objectives."""


def _item_align(config: Config) -> None:
  config.loss.align = 1.0  # the alignment loss, beyond the paper


def _item_align_both(config: Config) -> None:
  config.loss.align = 1.0
  config.align.views = "both"  # twice the work of cross_modal


def _item_sides(config: Config) -> None:
  _item_align(config)
  config.model.sides, config.model.cls_share = 512, 0.6


def _item_products(config: Config) -> None:
  _load("item_products.py", "teach")(config)  # with nothing but product ids


def _item_products_sides(config: Config) -> None:
  _item_products(config)
  config.model.sides, config.model.cls_share = 512, 0.2
  # What sides know of an image is where in it: a crop's is another's.
  config.products.crop, config.products.light = 1.0, 0.0


def _item_supervised(config: Config) -> None:
  config.task = "category"  # the same network, with nothing but labels


def _resnet50(config: Config) -> None:
  config.task = "category"
  config.model.name = "resnet50"
  config.resnet.norm = "batch"  # as published


def _roberta(config: Config) -> None:
  config.task = "mlm"
  config.model.name = "roberta"
  config.model.epsilon = 1e-5  # RoBERTa's


def _clip(config: Config) -> None:
  config.task = "contrastive"
  config.model.name = "clip"
  config.model.epsilon = 1e-5  # CLIP's
  config.model.dropout = 0.0  # CLIP has none


SYSTEMS = {
  "item": _item,
  "item_align": _item_align,
  "item_align_both": _item_align_both,
  "item_sides": _item_sides,
  "item_products": _item_products,
  "item_products_sides": _item_products_sides,
  "item_supervised": _item_supervised,
  "resnet50": _resnet50,
  "roberta": _roberta,
  "clip": _clip,
}


def _frozen_text() -> Config:
  config = Config()
  config.task, config.steps = "none", 0
  config.model.name = "roberta"  # its sizes are those of the weights
  return config


# The recommended configs of a stem with weights: the file, and its variants.
STEMS = {
  "item_stem": ("item_stem.py", "tiny", "small"),
  "item_products_stem": ("item_products.py", "stem_tiny", "stem"),
}
AS_THEY_ARE = {
  "frozen_image": lambda: _load("efficientnet.py", "get_config")(),
  "frozen_text": _frozen_text,
}


def _tiny() -> Config:
  """configs/item_tiny.py at 64 pixels in the paper's patches."""
  config = _load("item_tiny.py", "get_config")()
  config.model.image_size = 64
  config.model.patch = 16
  config.resnet.width = 16
  config.clip.text_layers = 3
  config.clip.text_width = 128
  config.clip.text_heads = 4
  config.clip.text_mlp = 512
  config.clip.projection = 128
  return config


def _small() -> Config:
  config = _load("item_small.py", "get_config")()
  config.resnet.width = 32
  config.clip.text_layers = 6
  config.clip.text_width = 256
  config.clip.text_heads = 4
  config.clip.text_mlp = 1_024
  config.clip.projection = 256
  return config


def _base() -> Config:
  return _load("item_base.py", "get_config")()


def _load(file: str, name: str) -> Callable:
  path = Path(__file__).with_name(file)
  return runpy.run_path(str(path))[name]


SIZES = {"tiny": _tiny, "small": _small, "base": _base}
