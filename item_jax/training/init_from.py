"""Starts a run from the parameters of another run, or of another project."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from item_jax.config import Config, flatten
from item_jax.data.tokenizer import Tokenizer
from item_jax.errors import NotFoundError, UserError
from item_jax.pretrained import convert, transforms
from item_jax.tasks import Task
from item_jax.training.fetched import copied_run
from item_jax.training.restore import Restored, restore
from item_jax.training.run import RUN_FILE

logger = logging.getLogger(__name__)

# Options that decide what parameters mean, and that no shape shows.
_MEANING = (
  "model.name",
  "model.epsilon",
  "model.activation",
  "resnet.norm",
  "resnet.pixels",
)


def starting_params(
  config: Config,
  task: Task,
  tokenizer: Tokenizer,
  categories: Sequence[str],
  params: Any,
) -> Any:
  """Returns `params` with those of `config.start_from` in their place.

  All that an embedding needs must be there; position tables are interpolated
  where sizes differ. Heads that are missing, have another shape or predict
  other categories keep their initial values and are named in the log.

  Raises:
    UserError: the other run's tokenizer, options or sizes are not this one's;
      files that do not fit, both sides named.
  """
  with copied_run(config.start_from) as path:
    if not path.exists():
      raise NotFoundError(f"start_from={config.start_from}: there is nothing")
    return _read_params(path, config, task, tokenizer, categories, params)


def _read_params(path: Path, config, task, tokenizer, categories, params):
  params = jax.tree.map(np.asarray, params)
  core = jax.eval_shape(task.core, jax.random.key(0)).keys()
  if (path / RUN_FILE).is_file():
    source = restore(path)
    _check_meaning(path, source, config, tokenizer)
    params, summary = _take(path, source, core, categories, params)
  else:
    found = convert.fill(
      params, path, config, tokenizer, new=params.keys() - core
    )
    params, summary = found.params, found.describe()
  if jax.process_index() == 0:
    logger.info(summary)
  return params


def _check_meaning(path, source: Restored, config: Config, tokenizer) -> None:
  theirs, ours = source.run.tokenizer.fingerprint, tokenizer.fingerprint
  if theirs != ours:
    raise UserError(
      f"{path} was trained with the tokenizer {theirs[:12]}, the data was"
      f" prepared with {ours[:12]}: prepare the catalogue with --tokenizer"
      f" {path}/tokenizer.json"
    )
  before, now = flatten(source.run.config), flatten(config)
  differing = [
    f"{name}: {now[name]!r} here, {before[name]!r} there"
    for name in _MEANING
    if now[name] != before[name]
  ]
  if differing:
    raise UserError(
      f"start_from={path} has parameters of another meaning:\n  "
      + "\n  ".join(differing)
    )


def _take(path, source: Restored, core, categories, params):
  """Returns (params with the source's leaves, a summary of that)."""
  ours, theirs = _flat(params), _flat(source.params)
  usable = dict(theirs)
  if source.run.categories != tuple(categories):
    # A head for as many other categories would have the right shape.
    usable = {n: x for n, x in theirs.items() if _top(n) in core}
  taken = {
    name: transforms.stretched(name, usable[name], leaf)
    for name, leaf in ours.items()
    if name in usable
  }
  taken = {n: x for n, x in taken.items() if x.shape == ours[n].shape}
  lacking = ours.keys() - taken.keys()
  misfits = [
    f"{name}: {list(ours[name].shape)} here, "
    + (f"{list(theirs[name].shape)} there" if name in theirs else "not there")
    for name in ours
    if name in lacking and _top(name) in core
  ]
  if misfits:
    raise UserError(
      f"start_from={path} has another network:\n  " + "\n  ".join(misfits)
    )
  # A head is taken whole or made new: half of one is of no use.
  new = {_top(name) for name in lacking}
  taken = {name: x for name, x in taken.items() if _top(name) not in new}
  unused = {_top(name) for name in theirs.keys() - taken.keys()}
  summary = (
    f"started from {path}, step {source.step}: {len(taken)} parameters taken;"
    f" made new: {_names(new)}; not used: {_names(unused)}"
  )
  structure = jax.tree.structure(params)
  leaves = [
    np.asarray(taken.get(name, leaf), leaf.dtype) for name, leaf in ours.items()
  ]
  return jax.tree.unflatten(structure, leaves), summary


def _top(name: str) -> str:
  return name.split("/")[0]


def _names(names) -> str:
  return ", ".join(sorted(names)) or "none"


def _flat(params) -> dict[str, np.ndarray]:
  """{"encoder/layer_0/norm1/scale": array}, in the order of the leaves."""
  return {
    "/".join(key.key for key in path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
