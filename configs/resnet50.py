"""ResNet50 v1.5 on the leaf category: the baseline that sees only images.

item-jax train --config=configs/resnet50.py --config.data.path=DATA --workdir=W

Its norm is a group norm, which any batch size suits; as published:
  --config.resnet.norm=batch

From weights of another project, untrained:
  --config=configs/resnet50.py:weights --config.start_from=FOLDER
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "train") -> Config:
  config = Config()
  config.task = "category"
  config.model.name = "resnet50"
  config.data.workers = 8
  if variant == "weights":
    # As published: batch norm, and the pixels that the weights know.
    config.steps = 0
    config.resnet.norm = "batch"
    config.resnet.pixels = "imagenet"
  elif variant != "train":
    raise UserError(f"variant {variant!r}: known are train, weights")
  return config
