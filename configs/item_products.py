"""ITEm's network taught by product ids: which listings are one product.

item-jax train --config=configs/item_products.py:SIZE --config.data.path=DATA \
  --workdir=W

SIZE is base (the default), small or tiny: configs/item_SIZE.py; stem or
stem_tiny: configs/item_stem.py, with --config.stem_from=FILE. From a run P of
that size:
  --config=configs/item_products.py:SIZE,finetune --config.start_from=P
The paper's five and the alignment loss run beside it at weights of their own,
0 here: --config.loss.mlm=0.5 keeps the title from being forgotten.
"""

import runpy
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError

SIZES = ("base", "small", "tiny", "stem", "stem_tiny")
OWN = ("itm", "mlm", "mim", "gmlm", "gmim")


def get_config(variant: str = "base") -> Config:
  """Builds the config of "SIZE", "SIZE,finetune" or "finetune"."""
  size, _, way = variant.partition(",")
  if size == "finetune" and not way:
    size, way = "base", size
  if size not in SIZES or way not in ("", "finetune"):
    raise UserError(
      f"{variant!r}: sizes are {', '.join(SIZES)}, each alone or with ,finetune"
    )
  name, *of = size.split("_")
  file = Path(__file__).with_name(f"item_{name}.py")
  config = runpy.run_path(str(file))["get_config"](*of)
  teach(config)
  if name == "stem":
    config.model.dropout = 0.1
    config.steps = 1_600
    config.eval_every = config.checkpoint.every = 400
  if name == "stem" or size == "tiny":
    # What sides know of an image is where in it: a crop's is another's. (And
    # features that are kept have no pixels to crop.)
    config.products.crop, config.products.light = 1.0, 0.0
  if size == "tiny":
    config.batch_size = 96
    config.steps = 600
    config.eval_every = 300
    config.checkpoint.every = 150
  if way:
    config.steps //= 5
    config.eval_every //= 5
    config.optim.warmup //= 5
    config.optim.lr /= 5
  elif size == "tiny":  # else it has those of the run that it starts from
    config.model.sides = 512
    config.model.cls_share = 0.2
  return config


def teach(config: Config) -> None:
  """Turns a config of the five objectives into one of product ids alone."""
  config.task = "products"
  config.loss.align = 0.0
  for name in OWN:
    setattr(config.loss, name, 0.0)
