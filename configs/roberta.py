"""RoBERTa on masked tokens: the baseline that sees only titles.

item-jax train --config=configs/roberta.py --config.data.path=DATA --workdir=W

From weights of another project, untrained (prepare with their tokenizer):
  --config=configs/roberta.py:weights --config.start_from=FOLDER
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "train") -> Config:
  config = Config()
  config.task = "mlm"
  config.model.name = "roberta"
  config.model.prefer(epsilon=1e-5)  # RoBERTa's; a BERT brings its own
  config.data.workers = 8
  if variant == "weights":
    config.steps = 0
  elif variant != "train":
    raise UserError(f"variant {variant!r}: known are train, weights")
  return config
