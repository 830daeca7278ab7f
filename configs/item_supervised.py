"""ITEm's network on the leaf category alone: the paper's supervised ITEm.

item-jax train --config=configs/item_supervised.py --config.data.path=DATA \
  --workdir=W

Fine-tuning, from a pre-trained workdir P:
  --config=configs/item_supervised.py:finetune --config.start_from=P
Any other network: --config.model.name=resnet50, roberta or clip.
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "scratch") -> Config:
  config = Config()
  config.task = "category"
  config.data.workers = 8
  if variant == "finetune":
    config.steps = 10_000
    config.eval_every = 1_000
    config.optim.lr = 3e-5  # BERT's range for fine-tuning: 2e-5 to 5e-5
    config.optim.warmup = 1_000
    config.checkpoint.best = "category/accuracy"
  elif variant != "scratch":
    raise UserError(f"variant {variant!r}: known are scratch, finetune")
  return config
