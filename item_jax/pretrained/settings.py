"""Sets the options of a run that the weights it starts from decide."""

import copy
import logging
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.pretrained import families, mappings
from item_jax.pretrained.files import Tensors, open_tensors, read_object

logger = logging.getLogger(__name__)

# What goes before the names of an encoder in a file: (its name in our tree,
# what goes before its options).
_ENCODERS = {
  "": ("encoder", "model."),
  "vision_model.": ("image_tower/encoder", "model."),
  "text_model.": ("title_tower/encoder", "clip.text_"),
}
_SIZES = ("layers", "width", "mlp", "heads")
# Tensors of which one axis is an option.
_AXES = {
  "embeddings.patch_embeddings.projection.weight": ("model.patch", 3),
  "vision_model.embeddings.patch_embedding.weight": ("model.patch", 3),
  "visual_projection.weight": ("clip.projection", 0),
}
# The options that weights decide.
NAMES = (
  *(f"model.{name}" for name in _SIZES),
  *(f"clip.text_{name}" for name in _SIZES),
  *dict.fromkeys(option for option, _ in _AXES.values()),
  "model.norm",
  "model.epsilon",
  "model.activation",
  "model.pool",
  "resnet.norm",
  "resnet.pixels",
)
_POOLS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def follow(config: Config, path: Path) -> Config:
  """Returns the config with the options of weights, where none are given.

  Args:
    config: of a run of `config.model.name`; it is not changed.
    path: as for `files.open_tensors`.

  Raises:
    FileNotFoundError: there is nothing at `path`.
    UserError: options that are given are not those of the weights; the message
      names the flags.
  """
  tensors = open_tensors(path)
  family = families.find_family(tensors)
  wanted = read(tensors, family, config.model.name)
  # A free choice: it changes no state of the network.
  if config.model.name == "roberta" and not is_given(config, "model.pool"):
    wanted |= _read_pool(tensors.folder)
  wrong = [
    f"--config.{name}={value} (the run: {attrgetter(name)(config)})"
    for name, value in wanted.items()
    if attrgetter(name)(config) != value and is_given(config, name)
  ]
  if wrong:
    raise UserError(
      f"{path}: these weights of {family} want\n  " + "\n  ".join(wrong)
    )
  return fill_in(config, wanted, origin=str(path))


def is_given(config: Config, name: str) -> bool:
  """Whether the option "group.name" was set, as of `Group.is_given`."""
  group, _, leaf = name.rpartition(".")
  return attrgetter(group)(config).is_given(leaf)


def fill_in(config: Config, wanted: Mapping[str, Any], *, origin: str):
  """Returns the config with `wanted` where no option is given; logs changes."""
  config, changed = copy.deepcopy(config), []
  for name, value in wanted.items():
    group, _, leaf = name.rpartition(".")
    if attrgetter(name)(config) != value and not is_given(config, name):
      attrgetter(group)(config).prefer(**{leaf: value})
      changed.append(f"{name}={value}")
  if changed:
    logger.info(f"options of {origin}: {', '.join(changed)}")
  return config


def read(tensors: Tensors, family: str, model: str) -> dict[str, Any]:
  """{"model.layers": 6} of all that weights decide of a run of `model`.

  Sizes are those of the tensors, the rest is config.json's, or the family's
  where that says nothing.
  """
  if (family, model) not in mappings.TABLES:
    return {}  # `convert.fill` says what is wrong
  names = families.plain_names(family, tensors.shapes)
  shapes = {short: tensors.shapes[name] for short, name in names.items()}
  found, widths, heads = {}, {}, {}
  for above, kind in mappings.ENCODERS.get(family, {}).items():
    encoder, group = _ENCODERS[above]
    first, up = above + kind.layer, f"{kind.up}.weight"
    if first.format(0) + up not in shapes:
      return {}
    layers = 0
    while first.format(layers) + up in shapes:
      layers += 1
    mlp, width = shapes[first.format(0) + up]
    found |= {f"{group}layers": layers, f"{group}width": width}
    found |= {f"{group}mlp": mlp}
    widths[encoder], heads[f"heads of {encoder}"] = width, f"{group}heads"
  for tensor, (name, axis) in _AXES.items():
    if tensor in shapes:
      found[name] = shapes[tensor][axis]
  for name, value in families.required_options(
    family, model, tensors, widths
  ).items():
    found[heads.get(name, name)] = value
  return found


def _read_pool(folder: Path) -> dict[str, str]:
  """What sentence-transformers' 1_Pooling says; nothing where there is none."""
  file = folder / "1_Pooling" / "config.json"
  if not file.is_file():
    return {}
  modes = read_object(file)
  on = [
    m for m, v in modes.items() if m.startswith("pooling_mode") and v is True
  ]
  pools = [_POOLS[mode] for mode in on if mode in _POOLS]
  if len(on) != 1 or not pools:
    raise UserError(
      f"{file} has {', '.join(on) or 'no pooling_mode'}; known are"
      f" {', '.join(_POOLS)}, one of them alone: give --config.model.pool="
      f"{' or '.join(_POOLS.values())}"
    )
  return {"model.pool": pools[0]}
