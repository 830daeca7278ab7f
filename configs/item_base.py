"""The paper's run: BERT-base size, 224 pixels, batch 512, 100,000 steps.

item-jax train --config=configs/item_base.py --config.data.path=DATA \
  --workdir=W
"""

from item_jax.config import Config


def get_config() -> Config:
  config = Config()
  config.data.workers = 8
  return config
