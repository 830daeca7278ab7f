"""Configures a system that trains in seconds, for `compare --config`."""

import runpy
from pathlib import Path

from item_jax.config import Config

VARIANTS = ("clip",)


def get_config(variant: str = "clip,tiny") -> Config:
  name = variant.partition(",")[0]
  shared = runpy.run_path(str(Path(__file__).with_name("tiny_run.py")))
  config = shared["get_config"](name)
  config.steps = 40
  config.log_every = 1
  return config
