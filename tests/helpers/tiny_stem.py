"""An EfficientNet of three blocks, and a file of weights for it."""

import jax
import numpy as np
import pytest
import tiny_run
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from item_jax.config import Config
from item_jax.models import efficientnet
from item_jax.models.efficientnet import Stage
from item_jax.pretrained import families, resnets
from item_jax.pretrained.parts import About

# 32 pixels become 4 x 4 places.
STAGES = (Stage(1, 3, 1, 1, 4), Stage(1, 5, 2, 2, 6), Stage(1, 3, 2, 2, 6))
HEAD = 20


def shrink(patch: pytest.MonkeyPatch) -> None:
  patch.setattr(efficientnet, "STAGES", STAGES)
  patch.setattr(efficientnet, "HEAD", HEAD)


def make_config(data="any", **changes) -> Config:
  """Of a run of 8 steps; `changes` as "loss__mim_target"."""
  config = tiny_run.get_config("short")
  config.data.path = str(data)
  config.model.image_size = 32
  config.model.stem = "efficientnet_lite0"
  for name, value in changes.items():
    group, _, leaf = name.rpartition("__")
    setattr(getattr(config, group) if group else config, leaf, value)
  return config


def write_weights(path, seed: int = 0) -> str:
  """A file such as is published: by the names of its tensors, of PyTorch's
  axes."""
  stem = efficientnet.make_stem(make_config())
  shapes = flatten_dict(jax.eval_shape(stem.init, jax.random.key(0)), sep="/")
  table = resnets.efficientnet(shapes, About(0, families.HALF, families.HALF))
  rng = np.random.default_rng(seed)
  tensors = {}
  for leaf, source in table.sources.items():
    shape = shapes[leaf].shape
    if len(shape) == 4:
      values = rng.normal(size=shape) * np.prod(shape[:3]) ** -0.5
      values = np.ascontiguousarray(values.transpose(3, 2, 0, 1))
    else:
      values = rng.uniform(0.5, 1.5, shape)
    tensors[source.tensors[0]] = values.astype(np.float32)
  save_file(tensors, path)
  return str(path)
