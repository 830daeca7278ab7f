"""CLIP ViT-B/16, image against title: the baseline of two towers.

item-jax train --config=configs/clip.py --config.data.path=DATA --workdir=W

From weights of another project, untrained (prepare with their tokenizer):
  --config=configs/clip.py:weights --config.start_from=FOLDER
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "train") -> Config:
  config = Config()
  config.task = "contrastive"
  config.model.name = "clip"
  config.model.prefer(epsilon=1e-5)  # CLIP's
  config.model.dropout = 0.0  # CLIP has none
  config.data.workers = 8
  if variant == "weights":
    config.steps = 0
    config.model.prefer(activation="quick_gelu")
  elif variant != "train":
    raise UserError(f"variant {variant!r}: known are train, weights")
  return config
