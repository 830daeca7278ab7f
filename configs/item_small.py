"""Meant for ten minutes of one GPU: 10,000 products at 224 pixels.

item-jax train --config=configs/item_small.py --config.data.path=DATA \
  --workdir=W
"""

from item_jax.config import Config


def get_config() -> Config:
  config = Config()
  config.steps = 6_000
  config.batch_size = 256
  config.eval_every = 1_000
  config.data.workers = 8
  config.model.layers = 6
  config.model.width = 384
  config.model.heads = 6
  config.model.mlp = 1_536
  # From scratch in few steps: pre-norm needs no long warm-up.
  config.model.norm = "pre"
  config.optim.lr = 5e-4
  config.optim.warmup = 500
  config.mask.patch_rate = 0.5
  return config
