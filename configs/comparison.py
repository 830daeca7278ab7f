"""The paper's comparison: what all systems share, and what each differs in.

item-jax compare --data=DATA --out=DIR --size=tiny --budget=300s
item-jax train --config=configs/comparison.py:clip,tiny --workdir=W \
  --config.data.path=DATA

Sizes: tiny for two CPU cores and minutes a system, small for one GPU, base is
the paper's. Batches, their order, pixels, titles, optimizer, schedule and the
peak that the learning rates are tried around are the same for every system.
"""

from item_jax.config import Config
from item_jax.errors import UserError

# Rows of the table; the others are held against the first.
VARIANTS = (
  "item",
  "item_align",
  "item_align_twins",
  "item_supervised",
  "resnet50",
  "roberta",
  "clip",
)
# More rows, of vectors already made: photo and title joined. A single name is
# a model of two towers.
FUSIONS = {
  "resnet50+roberta": ("resnet50", "roberta"),
  "clip": ("clip",),
}


def get_config(variant: str = "item") -> Config:
  """`variant` is "SYSTEM" or "SYSTEM,SIZE"; tiny where no size is said."""
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
  config.loss.align = 1.0  # a sixth, beyond the paper


def _item_align_twins(config: Config) -> None:
  config.loss.align = 1.0
  config.align.views = "both"  # twice the work of sides


def _item_supervised(config: Config) -> None:
  config.task = "category"  # the same network, with labels alone


def _resnet50(config: Config) -> None:
  config.task = "category"
  config.model.name = "resnet50"
  config.resnet.norm = "batch"  # as published


def _roberta(config: Config) -> None:
  config.task = "mlm"
  config.model.name = "roberta"
  config.model.epsilon = 1e-5  # RoBERTa's
  # As published; the sizes below mask more, for the sake of ITEm's [CLS].
  config.mask.title_rate = 0.15
  config.mask.mask_share = 0.8


def _clip(config: Config) -> None:
  config.task = "contrastive"
  config.model.name = "clip"
  config.model.epsilon = 1e-5  # CLIP's
  config.model.dropout = 0.0  # CLIP has none


SYSTEMS = {
  "item": _item,
  "item_align": _item_align,
  "item_align_twins": _item_align_twins,
  "item_supervised": _item_supervised,
  "resnet50": _resnet50,
  "roberta": _roberta,
  "clip": _clip,
}


def _tiny() -> Config:
  """configs/item_tiny.py, which says why; 64 pixels in the paper's patches."""
  config = Config()
  config.steps = 1_000
  config.batch_size = 64
  config.model.image_size = 64
  config.model.patch = 16
  config.model.title_places = 22
  config.model.layers = 3
  config.model.width = 128
  config.model.heads = 4
  config.model.mlp = 512
  config.model.norm = "pre"
  config.model.dropout = 0.0
  config.model.init_std = 0.05
  config.model.dtype = "float32"
  config.resnet.width = 16
  config.clip.text_layers = 3
  config.clip.text_width = 128
  config.clip.text_heads = 4
  config.clip.text_mlp = 512
  config.clip.projection = 128
  config.optim.lr = 2e-3
  config.optim.warmup = 100
  config.optim.b2 = 0.98
  config.mask.patch_rate = 0.5
  config.mask.title_rate = 0.3
  config.mask.mask_share = 0.5
  return config


def _small() -> Config:
  """configs/item_small.py, which says why."""
  config = Config()
  config.steps = 6_000
  config.batch_size = 256
  config.data.workers = 8
  config.model.layers = 6
  config.model.width = 384
  config.model.heads = 6
  config.model.mlp = 1_536
  config.model.norm = "pre"
  config.resnet.width = 32
  config.clip.text_layers = 6
  config.clip.text_width = 256
  config.clip.text_heads = 4
  config.clip.text_mlp = 1_024
  config.clip.projection = 256
  config.optim.lr = 5e-4
  config.optim.warmup = 500
  config.mask.patch_rate = 0.5
  return config


def _base() -> Config:
  """The paper's size, as configs/item_base.py; the rest are the defaults."""
  config = Config()
  config.data.workers = 8
  config.model.dropout_bits = "rbg"
  return config


SIZES = {"tiny": _tiny, "small": _small, "base": _base}
