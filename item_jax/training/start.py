"""Starts a run from another one's parameters: initial parameters and a path
in, the parameters to begin with out, and a word on each that was not taken."""

from pathlib import Path

import jax
import numpy as np

from item_jax.config import Config
from item_jax.data.tokenizer import Words
from item_jax.errors import UserError
from item_jax.pretrained import changes, convert
from item_jax.tasks import Task
from item_jax.training.restore import restore
from item_jax.training.workdir import RUN_FILE

# Position tables, which other image sizes and title lengths stretch.
_STRETCH = {
  "patch_position": changes.fit_grid,
  "title_position": changes.fit_rows,
}


def starting_params(config: Config, task: Task, words: Words, params):
  """The initial `params`, replaced where `config.start_from` has better.

  What an embedding needs must be there, its position tables stretched where
  sizes differ; heads that are not there, or that have another shape, keep
  their initial values and are named.

  Raises:
    UserError: the other run's words or sizes are not this one's; files that
      do not fit, both sides named.
  """
  path = Path(config.start_from)
  if not path.exists():
    raise FileNotFoundError(f"start_from={config.start_from}: there is nothing")
  params = jax.tree.map(np.asarray, params)
  if (path / RUN_FILE).is_file():
    return _from_run(path, task, words, params)
  core = jax.eval_shape(task.core, jax.random.key(0)).keys()
  found = convert.fill(params, path, config, words, new=params.keys() - core)
  print(found.describe(), flush=True)
  return found.params


def _from_run(path: Path, task: Task, words: Words, params):
  source = restore(path)
  if source.run.words.fingerprint != words.fingerprint:
    raise UserError(
      f"{path} was trained with another tokenizer than the data was prepared"
      f" with: prepare the catalogue with --tokenizer {path}/tokenizer.json"
    )
  ours = _flat(params)
  theirs = _flat(source.params)
  core = jax.eval_shape(task.core, jax.random.key(0)).keys()
  taken, new, misfits = {}, [], []
  for name, leaf in ours.items():
    top = name.split("/")[0]
    found = theirs.get(name)
    if found is not None and found.shape != leaf.shape and name in _STRETCH:
      found = _STRETCH[name](found, len(leaf))
    if found is not None and found.shape == leaf.shape:
      taken[name] = np.asarray(found, leaf.dtype)
    elif top in core:
      what = "is not there" if found is None else f"is {list(found.shape)}"
      misfits.append(f"{name}: {list(leaf.shape)} here, {what} in {path}")
    else:
      new.append(name)
  if misfits:
    raise UserError(
      f"start_from={path} has another network:\n  " + "\n  ".join(misfits)
    )
  unused = sorted(theirs.keys() - taken.keys())
  print(
    f"started from {path}, step {source.step}: {len(taken)} parameters taken;"
    f" made new: {_names(new)}; not used: {_names(unused)}",
    flush=True,
  )
  leaves, structure = jax.tree.flatten(params)
  del leaves
  return jax.tree.unflatten(
    structure, [taken.get(name, leaf) for name, leaf in ours.items()]
  )


def _flat(params) -> dict[str, np.ndarray]:
  """{"encoder/layer_0/norm1/scale": array}, in the order of the leaves."""
  return {
    "/".join(key.key for key in path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }


def _names(names) -> str:
  """The top-level entries, each once."""
  return ", ".join(sorted({name.split("/")[0] for name in names})) or "none"
