"""Two CPU cores, a few minutes: the quickstart's run.

item-jax train --config=configs/item_tiny.py --config.data.path=DATA \
  --workdir=W
"""

from item_jax.config import Config


def get_config() -> Config:
  config = Config()
  config.steps = 1_500
  config.batch_size = 64
  config.eval_every = 500
  config.log_every = 50
  config.checkpoint.every = 500
  config.model.image_size = 32
  config.model.patch = 8
  config.model.title_places = 24
  config.model.layers = 4
  config.model.width = 128
  config.model.heads = 4
  config.model.mlp = 512
  config.model.norm = "pre"
  config.model.dropout = 0.0
  config.model.dtype = "float32"  # a CPU has no quick bfloat16
  config.optim.lr = 1e-3
  config.optim.warmup = 100
  config.mask.patch_rate = 0.5
  return config
