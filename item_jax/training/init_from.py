"""Starts a run from the parameters of another run, or of another project."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from item_jax import tasks
from item_jax.config import Config, flatten
from item_jax.data.tokenizer import Tokenizer
from item_jax.errors import NotFoundError, UserError
from item_jax.models.base import SIDES, STEM
from item_jax.pretrained import convert, settings, transforms
from item_jax.tasks import Task
from item_jax.training.fetched import copied_run
from item_jax.training.restore import Restored, restore
from item_jax.training.run import RUN_FILE, RunRecord, find_run

logger = logging.getLogger(__name__)

# Options that decide what parameters mean, and that no shape shows.
_MEANING = (
  "model.name",
  "model.stem",
  "model.epsilon",
  "model.activation",
  "resnet.norm",
  "resnet.pixels",
)


# Options that a run decides of those that start from it.
_FOLLOWED = ("model.sides", "model.whole_words")
# And those whose default differs from what runs had before there was a choice.
_NEWER = ("model.whole_words", "checkpoint.best")


class Start(NamedTuple):
  """What a run starts from.

  taken: "encoder/layer_0/norm1/scale" of each leaf that is not made new.
  """

  params: Any
  taken: tuple[str, ...]
  summary: str


def follow_start(config: Config, run: RunRecord | None = None) -> Config:
  """Returns the config with the options that `start_from` decides.

  Options that are given stay. Weights decide what they are, a workdir of ours
  whether there are sides, and of what; a run that goes on has what its command
  did not name when it began.

  Args:
    run: what is resumed; it knows the options, should the weights be gone.

  Raises:
    UserError: options that are given are not the weights'; it names flags.
  """
  if run is not None:
    decided = (*settings.NAMES, *_FOLLOWED) if config.start_from else ()
    names = sorted({*decided, *_NEWER})
    before = flatten(run.config)
    same = {name: before[name] for name in names}
    return settings.fill_in(config, same, origin="the run")
  if not config.start_from:
    return config
  with copied_run(config.start_from) as path:
    if not path.exists():
      raise NotFoundError(f"start_from={config.start_from}: there is nothing")
    if (found := find_run(path)) is not None:
      theirs = flatten(found.config)
      same = {name: theirs[name] for name in _FOLLOWED}
      if theirs["model.name"] != config.model.name:
        return config  # `_check_meaning` says what is wrong
      return settings.fill_in(config, same, origin=str(path))
    return settings.follow(config, path)


def check_stem(config: Config) -> None:
  """Refuses a stem of whose weights nothing is said, before anything is built.

  Raises:
    UserError: naming the options.
  """
  if config.model.stem != "patch" and not (
    config.stem_from or config.start_from
  ):
    raise _no_stem(config)


def _no_stem(config: Config) -> UserError:
  return UserError(
    f"model.stem={config.model.stem} has no weights: give"
    " --config.stem_from=FILE, or --config.start_from=RUN of a run with one"
  )


def starting_params(
  config: Config,
  task: Task,
  tokenizer: Tokenizer,
  categories: Sequence[str],
  params: Any,
) -> Start:
  """Returns `params` with those of files in their place.

  The stem's are those of `config.stem_from`, where it is given, the others
  those of `config.start_from`: all that an embedding needs must be there;
  position tables are interpolated where sizes differ. Heads that are missing,
  have another shape or predict other categories keep their initial values and
  are named in the log.

  Raises:
    UserError: the other run's tokenizer, options or sizes are not this one's;
      files that do not fit, both sides named; a stem without weights.
  """
  params = jax.tree.map(np.asarray, params)
  stem = None
  if config.stem_from:
    stem = _read_stem(config, tokenizer, params.pop(STEM))
  start = Start(params, (), "")
  if config.start_from:
    with copied_run(config.start_from) as path:
      if not path.exists():
        raise NotFoundError(f"start_from={config.start_from}: there is nothing")
      start = _read_params(path, config, task, tokenizer, categories, params)
  if stem:
    start = Start(
      {**start.params, STEM: stem.params},
      (*start.taken, *(f"{STEM}/{leaf}" for leaf in stem.filled)),
      f"{start.summary}\nstem: {stem.describe()}".strip(),
    )
  elif STEM in params and not any(x.startswith(STEM) for x in start.taken):
    raise _no_stem(config)
  if jax.process_index() == 0:
    logger.info(start.summary)
  return start


def _read_stem(config: Config, tokenizer, params) -> convert.Filled:
  alone = copy.deepcopy(config)
  alone.model.name = config.model.stem
  return convert.fill(params, config.stem_from, alone, tokenizer)


def _read_params(path: Path, config, task, tokenizer, categories, params):
  core = tasks.core_names(task) - {SIDES}  # which a run makes of its data
  if (path / RUN_FILE).is_file():
    source = restore(path)
    _check_meaning(path, source, config, tokenizer)
    return _take(path, source, core, categories, params)
  new = (params.keys() - core) | ({STEM, SIDES} & params.keys())
  found = convert.fill(params, path, config, tokenizer, new=new)
  return Start(found.params, found.filled, found.describe())


def _check_meaning(path, source: Restored, config: Config, tokenizer) -> None:
  theirs, ours = source.run.tokenizer.fingerprint, tokenizer.fingerprint
  if theirs != ours:
    raise UserError(
      f"{path} was trained with the tokenizer {theirs[:12]}, the data was"
      f" prepared with {ours[:12]}: prepare the catalogue with --tokenizer"
      f" {path}/tokenizer.json, or give --config.data.tokenizer={path}"
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


def _take(path, source: Restored, core, categories, params) -> Start:
  """Returns params with the source's leaves."""
  found = jax.tree.map(np.asarray, source.params)
  ours: dict[str, Any] = flatten_dict(params, sep="/")
  theirs: dict[str, Any] = flatten_dict(found, sep="/")
  usable = dict(theirs)
  if source.run.categories != tuple(categories):
    # A head for as many other categories would have the right shape.
    usable = {n: x for n, x in theirs.items() if _top(n) in {*core, SIDES}}
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
  made = {
    name: np.asarray(taken.get(name, leaf), leaf.dtype)
    for name, leaf in ours.items()
  }
  return Start(unflatten_dict(made, sep="/"), tuple(taken), summary)


def _top(name: str) -> str:
  return name.split("/")[0]


def _names(names) -> str:
  return ", ".join(sorted(names)) or "none"
