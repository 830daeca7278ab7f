"""Defines mapping tables and the rows that all transformers share.

A leaf's path is its names joined by "/".
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from item_jax.pretrained import transforms
from item_jax.pretrained.transforms import Change, Pixels


class Source(NamedTuple):
  """The tensors that a leaf is made of, and how."""

  tensors: tuple[str, ...]
  change: Change


class About(NamedTuple):
  """What a table may have to know beyond the tree.

  cls: id of the token that opens every title. theirs: how the images were
  normalised that the weights have seen. ours: how the network's are. pad: id
  of the weights' padding, as their config.json has it, or RoBERTa's.
  """

  cls: int
  theirs: Pixels
  ours: Pixels
  pad: int = 1


class Table(NamedTuple):
  """Every leaf of ours and every tensor of theirs is in one of these.

  sources: leaf -> where it comes from.
  heads: the first names of those leaves of `sources` that may be missing on
    either side: a file without them leaves ours as made new, a tree without
    them leaves theirs unread.
  new: first names of the leaves that the family has nothing for.
  ignored: pattern of tensors -> why they are passed over.
  copies: tensor -> the one that it must be equal to, and stands for.
  token_table: the tensor with a row for each token; None without one.
  """

  sources: dict[str, Source]
  heads: tuple[str, ...] = ()
  new: tuple[str, ...] = ()
  ignored: dict[str, str] = {}
  copies: dict[str, str] = {}
  token_table: str | None = None


def layers_of(leaves: Iterable[str], encoder: str = "encoder") -> range:
  """The numbers of an encoder's layers in a tree."""
  found = (re.match(rf"{encoder}/layer_(\d+)/", leaf) for leaf in leaves)
  return range(1 + max((int(m[1]) for m in found if m), default=-1))


class Names(NamedTuple):
  """What a family calls the parts of a layer, each with weight and bias."""

  layer: str  # with {} for its number
  query: str
  key: str
  value: str
  out: str
  up: str
  down: str
  norm1: str
  norm2: str


def norm(leaf: str, tensor: str) -> dict[str, Source]:
  return {
    f"{leaf}/scale": Source((f"{tensor}.weight",), transforms.same),
    f"{leaf}/bias": Source((f"{tensor}.bias",), transforms.same),
  }


def dense(leaf: str, tensor: str) -> dict[str, Source]:
  return {
    f"{leaf}/kernel": Source((f"{tensor}.weight",), transforms.linear),
    f"{leaf}/bias": Source((f"{tensor}.bias",), transforms.same),
  }


def encoder(
  names: Names, layers: range, *, ours: str = "encoder", theirs: str = ""
) -> dict[str, Source]:
  """Sources of every layer; `theirs` goes before each tensor's name."""
  sources = {}
  for i in layers:
    leaf, tensor = f"{ours}/layer_{i}", theirs + names.layer.format(i)
    read = [tensor + n for n in (names.query, names.key, names.value)]
    out = tensor + names.out
    sources |= {
      f"{leaf}/attention/qkv/kernel": Source(
        tuple(f"{n}.weight" for n in read), transforms.to_heads
      ),
      f"{leaf}/attention/qkv/bias": Source(
        tuple(f"{n}.bias" for n in read), transforms.to_heads_bias
      ),
      f"{leaf}/attention/out/kernel": Source(
        (f"{out}.weight",), transforms.from_heads
      ),
      f"{leaf}/attention/out/bias": Source((f"{out}.bias",), transforms.same),
      **dense(f"{leaf}/mlp/up", tensor + names.up),
      **dense(f"{leaf}/mlp/down", tensor + names.down),
      **norm(f"{leaf}/norm1", tensor + names.norm1),
      **norm(f"{leaf}/norm2", tensor + names.norm2),
    }
  return sources
