"""Ablates ITEm: each row takes away, adds or changes one thing.

item-jax compare --systems=ablation --data=DATA --out=DIR --budget=180s
item-jax train --config=configs/ablation.py:no_gmlm,tiny --workdir=W \
  --config.data.path=DATA

"full" is configs/comparison.py:item of the same size, and all others are
compared with it. A row whose config is another's (patch50 where the size masks
half of the patches anyway) is trained once.
"""

import runpy
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError

GLOBAL = ("gmlm", "gmim")  # the two that read nothing but the embedding
LOCAL = ("mlm", "mim")


def _without(*names: str):
  def change(config: Config) -> None:
    for name in names:
      setattr(config.loss, name, 0.0)

  return change


def _patches(rate: float):
  def change(config: Config) -> None:
    config.mask.patch_rate = rate

  return change


def _keep_negatives(config: Config) -> None:
  config.loss.keep_negatives = True


def _sum_heads(config: Config) -> None:
  config.model.global_head = "sum"


def _norm(name: str):
  def change(config: Config) -> None:
    config.model.norm = name

  return change


def _align(*without: str, weight: float = 1.0, **options):
  """Adds the alignment loss to all five objectives, or to fewer."""

  def change(config: Config) -> None:
    config.loss.align = weight
    _without(*without)(config)
    for name, value in options.items():
      setattr(config.align, name, value)

  return change


CHANGES = {
  "full": _without(),
  "no_itm": _without("itm"),
  "no_mlm": _without("mlm"),
  "no_mim": _without("mim"),
  "no_gmlm": _without("gmlm"),
  "no_gmim": _without("gmim"),
  "no_global": _without(*GLOBAL),
  "only_global": _without("itm", *LOCAL),
  "patch15": _patches(0.15),
  "patch30": _patches(0.30),
  "patch50": _patches(0.50),
  "patch75": _patches(0.75),
  "keep_negatives": _keep_negatives,
  "sum_heads": _sum_heads,
  "post_norm": _norm("post"),
  "pre_norm": _norm("pre"),
  "align": _align(),
  "align_twins": _align(views="augmented"),
  "align_one_twin": _align(views="augmented", changed=1),
  "align_both": _align(views="both"),
  "align_fused": _align(fused=True),
  "align_weak": _align(weight=0.3),
  "align_strong": _align(weight=3.0),
  "align_cold": _align(temperature=0.02),
  "align_warm": _align(temperature=0.2),
  "align_no_itm": _align("itm"),
  "align_no_global": _align(*GLOBAL),
  "align_alone": _align("itm", *LOCAL, *GLOBAL),
}
VARIANTS = tuple(CHANGES)


def get_config(variant: str = "full") -> Config:
  """Builds the config of "NAME" or "NAME,SIZE"; by default tiny."""
  name, _, size = variant.partition(",")
  if name not in CHANGES:
    raise UserError(f"{variant!r}: rows are {', '.join(VARIANTS)}")
  shared = runpy.run_path(str(Path(__file__).with_name("comparison.py")))
  config = shared["get_config"](f"item,{size}")
  CHANGES[name](config)
  return config
