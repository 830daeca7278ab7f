"""EfficientNet-Lite0 from published weights: a baseline that sees only images.

item-jax train --config=configs/efficientnet.py --config.start_from=FILE \
  --config.data.path=DATA --workdir=W

As it stands no step is taken: what W exports are the weights' own features. To
fine-tune them on the leaf category: --config=configs/efficientnet.py:finetune
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "weights") -> Config:
  config = Config()
  config.model.name = "efficientnet_lite0"
  config.model.dtype = "float32"  # as published; two CPU cores are enough
  if variant == "weights":
    config.task = "none"
    config.steps = 0
  elif variant == "finetune":
    config.task = "category"
    config.steps = 1_000
    config.batch_size = 64
    config.eval_every = 250
    config.optim.lr = 1e-4
    config.optim.warmup = 100
    config.checkpoint.best = "category/accuracy"
  else:
    raise UserError(f"variant {variant!r}: known are weights, finetune")
  return config
