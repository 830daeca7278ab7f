"""ITEm whose text begins as a BERT-like encoder of sentences, as MiniLM (6
layers of 384), at 64 pixels: two CPU cores.

item-jax prepare products.csv --out=DATA --tokenizer=FOLDER
item-jax train --config=configs/item_minilm.py --config.start_from=FOLDER \
  --config.data.path=DATA --workdir=W

FOLDER holds the weights, their config.json and their tokenizer; its sizes take
the place of MiniLM's.
"""

from item_jax.config import Config


def get_config() -> Config:
  config = Config()
  config.steps = 600
  config.batch_size = 64
  config.log_every = 25
  config.eval_every = 100
  config.checkpoint.every = 100
  # Of MiniLM: what `plan` computes without weights.
  config.model.prefer(layers=6, width=384, heads=12, mlp=1_536, epsilon=1e-12)
  config.model.image_size = 64
  config.model.max_title_tokens = 23
  config.model.dtype = "float32"  # a CPU has no quick bfloat16
  # The heads and the projection of patches are random at first: what they ask
  # of the text encoder would spoil it. They learn alone, then it follows at a
  # tenth of their rate.
  config.optim.lr = 3e-4
  config.optim.warmup = 20
  config.optim.freeze_steps = 100
  config.optim.start_rate = 0.1
  config.optim.b2 = 0.98  # moments that a short run fills
  config.mask.patch_rate = 0.5
  config.mask.mask_fraction = 0.5  # as in item_tiny.py
  return config
