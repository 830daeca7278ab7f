"""ITEm behind EfficientNet-Lite0's features, which stay as published, with the
alignment loss: two CPU cores, under an hour.

item-jax train --config=configs/item_stem.py --config.stem_from=FILE \
  --config.data.path=DATA --workdir=W

FILE: the network's weights (docs/training.md, "An image stem that knows
something"). Its features are computed once, beside DATA: 125 KB an image, and
41 KB with item_stem.py:tiny, which averages them to 4 x 4 places and is a third
of the work.
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(size: str = "small") -> Config:
  config = Config()
  config.steps = 1_000
  config.batch_size = 96
  config.eval_every = 250
  config.checkpoint.every = 250
  config.data.features = "auto"
  config.model.stem = "efficientnet_lite0"
  config.model.max_title_tokens = 22
  config.model.layers = 3
  config.model.width = 192
  config.model.heads = 6
  config.model.mlp = 768
  config.model.norm = "pre"
  config.model.dropout = 0.0
  # A side of the image and one of the title pass the transformer by.
  config.model.sides = 512
  config.model.init_std = 0.05  # 0.02 is for width 768
  config.model.dtype = "float32"  # a CPU has no quick bfloat16
  config.optim.lr = 1e-3
  config.optim.warmup = 100
  config.optim.b2 = 0.98  # moments that a short run fills
  config.loss.align = 1.0
  # Pixels under a place of 32 x 32 say little; the stem's view of it says what
  # is there.
  config.loss.mim_target = "features"
  config.mask.patch_rate = 0.5
  config.mask.title_rate = 0.3  # more to learn from each step
  config.mask.mask_fraction = 0.5  # as in item_tiny.py
  if size == "tiny":
    config.model.stem_grid = 4
    config.steps = 600
    config.eval_every = 200
    config.checkpoint.every = 200
  elif size != "small":
    raise UserError(f"{size!r}: sizes are small, tiny")
  return config
