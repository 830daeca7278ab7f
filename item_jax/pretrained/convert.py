"""Fills a tree of ours with the weights of another project.

Every leaf has a source or is among those made new, every tensor has a leaf or
is among those ignored on purpose; anything else is an error that names both
sides. The leaves that are filled become float32 arrays of numpy.
"""

import os
import re
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from item_jax.config import Config
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.data.vocabularies import find_tokenizer
from item_jax.errors import UserError
from item_jax.pretrained import families
from item_jax.pretrained.files import Tensors, open_tensors
from item_jax.pretrained.mappings import TABLES
from item_jax.pretrained.parts import About, Source, Table

_SHOWN = 6  # names of each kind in a message
_SPELLED = 300  # tokens that two tokenizers are compared on


class Filled(NamedTuple):
  """A tree with the weights, and where they came from.

  params: the tree. filled: leaves with a source. new: leaves left as they
  were. ignored: tensor -> why it was passed over.
  """

  params: Any
  path: Path
  family: str
  filled: tuple[str, ...]
  new: tuple[str, ...]
  ignored: Mapping[str, str]

  def describe(self) -> str:
    """Lines to print."""
    first = dict.fromkeys(leaf.split("/")[0] for leaf in self.new)
    lines = [
      f"{len(self.filled)} leaves from {self.path} ({self.family})",
      f"made new: {', '.join(first) or 'none'}",
    ]
    reasons = {}
    for name, reason in self.ignored.items():
      reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
      lines.append(f"passed over: {_some(names)} ({reason})")
    return "\n".join(lines)


def fill(
  params: Any,
  path: str | os.PathLike,
  config: Config,
  tokenizer: Tokenizer,
  *,
  new: Iterable[str] = (),
) -> Filled:
  """Fills a tree of `config.model.name` from a safetensors file or folder.

  Args:
    params: nested dicts of arrays, or of `jax.ShapeDtypeStruct` (their values
      count as zeros).
    path: as for `files.open_tensors`; config.json, preprocessor_config.json
      and a tokenizer beside the weights are looked at.
    config: of the run; what the weights ask of it is checked, not changed.
    tokenizer: of the run; its ids must be those of the weights.
    new: first names of leaves that the run adds and no weights have.

  Raises:
    NotFoundError: there is nothing at `path`.
    UserError: both sides don't fit; the message names both.
  """
  tensors = open_tensors(path)
  family = families.find_family(tensors)
  model = config.model.name
  if (family, model) not in TABLES:
    known = [f"{f} -> {m}" for f, m in TABLES]
    raise UserError(
      f"{tensors.path}: weights of {family} don't fill model.name={model};"
      f" known are {', '.join(known)}"
    )
  families.check_kind(family, tensors)
  leaves = flatten_dict(params, sep="/")
  names = families.plain_names(family, tensors.shapes)
  about = About(
    tokenizer.cls,
    families.pixels_of(family, tensors),
    ours=families.HALF,
    pad=tensors.config.get("pad_token_id", 1),
  )
  table = TABLES[family, model](leaves, about)
  # Before the names are compared: another norm is another tree, and the option
  # says more than the leaves.
  _check_options(family, config, tensors, leaves)
  plan, made_new, ignored = _match(table, leaves, names, tuple(new), tensors)
  if table.token_table is not None:
    _check_tokens(tensors, names[table.token_table], tokenizer)
  _check_copies(table, names, tensors)
  done = dict(leaves)
  for leaf, source in plan.items():
    done[leaf] = _made(leaf, leaves[leaf], source, names, tensors)
  return Filled(
    unflatten_dict(done, sep="/"),
    tensors.path,
    family,
    tuple(plan),
    made_new,
    ignored,
  )


def _check_options(family, config, tensors, leaves):
  """The run's options and the heads of its tree against the weights'."""
  kernel = "/layer_0/attention/qkv/kernel"
  encoders = {
    leaf.removesuffix(kernel): np.shape(x)
    for leaf, x in leaves.items()
    if leaf.endswith(kernel)
  }
  widths = {encoder: shape[0] for encoder, shape in encoders.items()}
  wanted = families.required_options(family, config.model.name, tensors, widths)
  wrong = []
  for name, value in wanted.items():
    if name.startswith("heads of "):
      have = encoders[name.removeprefix("heads of ")][2]
    else:
      have = attrgetter(name)(config)
    if have != value:
      wrong.append(f"{name}={value} (the run: {have})")
  if wrong:
    raise UserError(
      f"{tensors.path}: weights of {family} want {', '.join(wrong)}"
    )


def _match(table: Table, leaves, names, new, tensors: Tensors):
  """Which leaf comes from where; leaves made new; tensors passed over."""
  sources, passed = dict(table.sources), {}
  new = (*table.new, *new)
  for head in table.heads:
    rows = {k: s for k, s in sources.items() if k.split("/")[0] == head}
    theirs = {t for s in rows.values() for t in s.tensors} & names.keys()
    if not rows.keys() & leaves.keys():
      passed |= dict.fromkeys(theirs, f"the run has no {head}")
    elif not theirs:
      new = (*new, head)
    else:
      continue
    for leaf in rows:
      del sources[leaf]
  for tensor in names:
    if tensor in table.copies:
      passed[tensor] = f"a copy of {table.copies[tensor]}"
    for pattern, reason in table.ignored.items():
      if re.match(pattern, tensor):
        passed[tensor] = reason
  plan = {leaf: sources[leaf] for leaf in leaves if leaf in sources}
  made_new = tuple(
    leaf for leaf in leaves if leaf.split("/")[0] in new and leaf not in plan
  )
  used = {t for s in plan.values() for t in s.tensors}
  problems = {
    "leaves without a source": leaves.keys() - plan.keys() - set(made_new),
    "tensors that a leaf needs and that are not there": used - names.keys(),
    "tensors without a leaf": names.keys() - used - passed.keys(),
  }
  if any(problems.values()):
    parts = [f"{what}: {_some(x)}" for what, x in problems.items() if x]
    raise UserError(f"{tensors.path} does not fit. {'; '.join(parts)}")
  ignored = {names[t]: why for t, why in sorted(passed.items())}
  return plan, made_new, ignored


def _check_tokens(tensors, table, tokenizer):
  """The run's tokens and the weights' rows must be the same ones."""
  rows = tensors.shapes[table][0]
  own = tokenizer.size - len(tokenizer.added)
  if rows != own:
    raise UserError(
      f"{tensors.path}: {table} has {rows} tokens, the run's tokenizer {own};"
      " prepare the data with the tokenizer of the weights, or name it by"
      " --config.data.tokenizer"
    )
  file = find_tokenizer(tensors.folder)
  if file is None:
    return
  theirs = load_tokenizer(file)
  known = theirs.ids()
  differ = [w for w, i in tokenizer.ids().items() if known.get(w) != i]
  if differ:
    raise UserError(
      f"{file}, the tokenizer of the weights, gives {len(differ)} tokens"
      f" another id than the run's does, among them {_some(differ)}"
    )
  # The same list of tokens may be applied in another way: case, merges.
  spread = sorted(known)[:: max(1, len(known) // _SPELLED)]
  for text in (x for w in spread for x in (w, w.title(), f"{w}{w}")):
    ours, expected = tokenizer.encode(text, 32), theirs.encode(text, 32)
    if not np.array_equal(ours, expected):
      raise UserError(
        f"{file}, the tokenizer of the weights, cuts {text!r} into"
        f" {expected.tolist()}, the run's into {ours.tolist()}"
      )


def _check_copies(table, names, tensors):
  for copy, original in table.copies.items():
    if copy not in names or original not in names:
      continue
    first, second = tensors.read(names[copy]), tensors.read(names[original])
    if not np.array_equal(first, second):
      raise UserError(
        f"{tensors.path}: {names[copy]} is not the same as {names[original]};"
        " our tokens are decoded by the table that encodes them"
      )


def _made(leaf, old, source: Source, names, tensors):
  before = old
  if isinstance(old, jax.ShapeDtypeStruct):
    before = np.broadcast_to(np.float32(0), old.shape)
  parts = [tensors.read(names[t]) for t in source.tensors]
  try:
    value = source.change(parts, np.asarray(before))
    if value.shape != old.shape:
      raise ValueError(f"{value.shape} is not {old.shape}")
  except ValueError as error:
    theirs = [f"{names[t]} {tensors.shapes[names[t]]}" for t in source.tensors]
    raise UserError(
      f"{tensors.path}: {leaf} {tuple(old.shape)} can't be made of"
      f" {', '.join(theirs)}: {error}"
    ) from error
  return np.array(value, np.float32)


def _some(names: Iterable[str]) -> str:
  names = sorted(names)
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more
