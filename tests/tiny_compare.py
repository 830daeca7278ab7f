"""Two systems that train in seconds; read by `compare --config`."""

import runpy
from pathlib import Path

from item_jax.config import Config

VARIANTS = ("item", "roberta")


def get_config(variant: str = "item,tiny") -> Config:
  name = {"item": "plain"}.get(variant.partition(",")[0], "roberta")
  shared = runpy.run_path(str(Path(__file__).with_name("tiny_run.py")))
  config = shared["get_config"](name)
  config.steps = 40
  config.log_every = 1
  return config
