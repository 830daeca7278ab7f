"""Holds the options of the networks beside ITEm's."""

import dataclasses

from item_jax.config_group import Group, fraction, option


@dataclasses.dataclass
class Resnet(Group):
  # Channels of the first stage; the pool has 32 times as many.
  width: int = option(64, at_least=1)
  # "batch" as published, reduced over the global batch; "group" is the same
  # for any batch and trains better on small ones.
  norm: str = option("group", choices=("batch", "group"))
  # How pixels are normalised: "half" to [-1, 1], or "imagenet" by the mean and
  # deviation that published weights were trained with.
  pixels: str = option("half", choices=("half", "imagenet"))


@dataclasses.dataclass
class Clip(Group):
  # The image tower has model's layers, width, heads and mlp; these are the
  # title tower's and the common space's, of CLIP ViT-B.
  text_layers: int = option(12, at_least=1)
  text_width: int = option(512, at_least=1)
  text_heads: int = option(8, at_least=1)
  text_mlp: int = option(2_048, at_least=1)
  projection: int = option(512, at_least=1)
  # In the fused score; the title has the rest.
  image_weight: float = fraction(0.5, above=0, below=1)
