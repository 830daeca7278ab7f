"""Configures the paper's comparison: what systems share, and how each differs.

item-jax compare --data=DATA --out=DIR --size=tiny --budget=300s
item-jax train --config=configs/comparison.py:clip,tiny --workdir=W \
  --config.data.path=DATA

Sizes: tiny for two CPU cores and minutes a system, small for one GPU, base is
the paper's. Batches, their order, pixels, titles, masks, optimizer, schedule
and the peak that the learning rates are tried around are the same for every
system.
"""

import runpy
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError

# Rows of the table; the others are compared with the first.
VARIANTS = (
  "item",
  "item_align",
  "item_align_both",
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


def get_config(variant: str = "item") -> Config:
  """Builds the config of "SYSTEM" or "SYSTEM,SIZE"; by default tiny."""
  name, _, size = variant.partition(",")
  size = size or "tiny"
  if name not in VARIANTS or size not in SIZES:
    raise UserError(
      f"{variant!r}: systems are {', '.join(VARIANTS)}; sizes are"
      f" {', '.join(SIZES)}"
    )
  config = SIZES[size]()
  SYSTEMS[name](config)
  return config


def _item(config: Config) -> None:
  """The paper's five objectives."""


def _item_align(config: Config) -> None:
  config.loss.align = 1.0  # the alignment loss, beyond the paper


def _item_align_both(config: Config) -> None:
  config.loss.align = 1.0
  config.align.views = "both"  # twice the work of cross_modal


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
  "item_supervised": _item_supervised,
  "resnet50": _resnet50,
  "roberta": _roberta,
  "clip": _clip,
}


def _tiny() -> Config:
  """configs/item_tiny.py at 64 pixels in the paper's patches."""
  config = _load("item_tiny.py")
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
  config = _load("item_small.py")
  config.resnet.width = 32
  config.clip.text_layers = 6
  config.clip.text_width = 256
  config.clip.text_heads = 4
  config.clip.text_mlp = 1_024
  config.clip.projection = 256
  return config


def _base() -> Config:
  return _load("item_base.py")


def _load(file: str) -> Config:
  path = Path(__file__).with_name(file)
  return runpy.run_path(str(path))["get_config"]()


SIZES = {"tiny": _tiny, "small": _small, "base": _base}
