"""The paper's run with a sixth objective, beyond the paper: views of one
listing are drawn together (item_jax.config.Align).

item-jax train --config=configs/item_align.py --config.data.path=DATA \
  --workdir=W
"""

from item_jax.config import Config


def get_config() -> Config:
  config = Config()
  config.data.workers = 8
  config.model.dropout_bits = "rbg"
  config.loss.align = 1.0
  return config
