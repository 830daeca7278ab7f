"""ITEm whose text begins as a BERT-like encoder of sentences, as MiniLM (6
layers of 384), at 64 pixels: two CPU cores.

item-jax prepare products.csv --out=DATA --tokenizer=FOLDER
item-jax train --config=configs/item_minilm.py --config.start_from=FOLDER \
  --config.data.path=DATA --workdir=W

FOLDER holds the weights, their config.json and their tokenizer; its sizes take
the place of MiniLM's. Both sides begin from weights with
  --config=configs/item_minilm.py:stem --config.stem_from=FILE
FILE being EfficientNet-Lite0's (docs/training.md).
"""

from item_jax.config import Config
from item_jax.errors import UserError


def get_config(variant: str = "patch") -> Config:
  config = Config()
  config.steps = 150
  config.batch_size = 64
  config.log_every = 25
  config.eval_every = 50
  config.checkpoint.every = 50
  # Of MiniLM: what `plan` computes without weights.
  config.model.prefer(layers=6, width=384, heads=12, mlp=1_536, epsilon=1e-12)
  config.model.image_size = 64
  config.model.max_title_tokens = 23
  config.model.dtype = "float32"  # a CPU has no quick bfloat16
  # What the encoder knew of whole sentences is lost on the way to what a title
  # says of a product; sides are not (docs/training.md).
  config.model.sides = 512
  config.loss.align = 1.0
  # The heads and the projection of images are random at first: what they ask
  # of the text encoder would spoil it. They learn alone, then it follows
  # at a tenth of their rate.
  config.optim.lr = 3e-4
  config.optim.warmup = 20
  config.optim.freeze_steps = 30
  config.optim.start_rate = 0.1
  config.optim.b2 = 0.98  # moments that a short run fills
  config.mask.patch_rate = 0.5
  config.mask.mask_fraction = 0.5  # as in item_tiny.py
  if variant == "stem":
    config.data.features = "auto"
    config.model.image_size = 224
    config.model.stem = "efficientnet_lite0"
    config.model.stem_grid = 4
    config.loss.mim_target = "features"
  elif variant != "patch":
    raise UserError(f"variant {variant!r}: known are patch, stem")
  return config
