"""Maps each leaf of a convolutional network to tensors of published weights."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from item_jax.pretrained import transforms
from item_jax.pretrained.parts import About, Source, Table


def _convolutions(leaves, name: Callable[[str], tuple[str, str]]):
  """The sources; `name` gives a convolution's and its norm's names."""
  sources = {}
  for leaf in leaves:
    *body, last = leaf.split("/")
    statistics = body[:1] == ["statistics"]
    at = "/".join(body[1:] if statistics else body)
    norm = re.sub(r"_norm$", "", at)
    conv = re.sub(r"(^|/)norm(\d)$", r"\1conv\2", norm)
    convolution, normalisation = name(conv)
    change = transforms.convolution if last == "kernel" else transforms.same
    of = convolution if last == "kernel" else normalisation
    theirs = {
      "kernel": "weight",
      "scale": "weight",
      "bias": "bias",
      "mean": "running_mean",
      "var": "running_var",
    }[last]
    sources[leaf] = Source((f"{of}.{theirs}",), change)
  return sources


def _network(name, ignored: Mapping[str, str] = MappingProxyType({})):
  def make(leaves, about: About) -> Table:
    found = [leaf for leaf in leaves if _LEAF.match(leaf)]
    return Table(
      _convolutions(found, name),
      ignored={
        r"classifier\.": "a classifier of other classes",
        r"_?fc\.": "a classifier of other classes",
        r".*\.num_batches_tracked": "a count of training steps",
        **ignored,
      },
    )

  return make


_BLOCK = r"stage_(\d+)_block_(\d+)/(.*)"
_LEAF = re.compile(
  r"(statistics/)?((stem|head)(_norm)?|(stage_\d+_)?block_\d+)/"
)


def _block_of(conv: str) -> tuple[str, ...]:
  """(stage, block, convolution) of "stage_2_block_0/conv1"."""
  found = re.fullmatch(_BLOCK, conv)
  if found is None:
    raise ValueError(f"{conv} is no convolution of a ResNet")
  return found.groups()


def _hugging_face(conv: str) -> tuple[str, str]:
  if conv == "stem":
    base = "embedder.embedder"
  else:
    stage, block, part = _block_of(conv)
    inner = (
      part
      if part == "shortcut"
      else f"layer.{int(part.removeprefix('conv')) - 1}"
    )
    base = f"encoder.stages.{stage}.layers.{block}.{inner}"
  return f"{base}.convolution", f"{base}.normalization"


def _torchvision(conv: str) -> tuple[str, str]:
  if conv == "stem":
    return "conv1", "bn1"
  stage, block, part = _block_of(conv)
  base = f"layer{int(stage) + 1}.{block}."
  if part == "shortcut":
    return f"{base}downsample.0", f"{base}downsample.1"
  return base + part, base + part.replace("conv", "bn")


def _efficientnet(conv: str) -> tuple[str, str]:
  *block, part = conv.split("/")
  at = block[0].replace("block_", "_blocks.") + "." if block else ""
  convolution, norm = {
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
  }[part]
  return at + convolution, at + norm


hugging_face = _network(_hugging_face)
torchvision = _network(_torchvision)
efficientnet = _network(_efficientnet)
efficientnet_blocks = _network(
  _efficientnet, {r"_(conv_head|bn1)\.": "the head, after the last block"}
)
