"""A run of another size with the alignment loss, beyond the paper, which draws
views of one listing together (item_jax.config.Align).

item-jax train --config=configs/item_align.py:SIZE --config.data.path=DATA \
  --workdir=W

SIZE is base (the default), small or tiny: configs/item_SIZE.py. The paper's
five alone are one flag away: --config.loss.align=0.
"""

import runpy
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError

SIZES = ("base", "small", "tiny")


def get_config(size: str = "base") -> Config:
  if size not in SIZES:
    raise UserError(f"{size!r}: sizes are {', '.join(SIZES)}")
  file = Path(__file__).with_name(f"item_{size}.py")
  config = runpy.run_path(str(file))["get_config"]()
  config.loss.align = 1.0
  if size == "tiny":
    config.steps = 900
    config.eval_every = 300
    config.checkpoint.every = 150
    # What few steps teach [CLS], and beside it colours and words as they are:
    # each finds listings that the others miss.
    config.model.sides = 128
    config.model.cls_share = 0.6
  return config
