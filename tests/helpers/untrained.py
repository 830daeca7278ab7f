"""A run with a checkpoint of what it would begin with: quick to make."""

from pathlib import Path

import jax
import tiny_run

from item_jax import tasks
from item_jax.config import Config
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.run import read_run, write_run


def write_record(folder: Path, config: Config, data: Path, categories=()):
  """A run of `config` on the catalogue `data` that has no checkpoint."""
  folder.mkdir(exist_ok=True)
  write_run(
    folder,
    config,
    open_dataset(data),
    load_tokenizer(data),
    attention="xla",
    chance_levels={},
    categories=list(categories),
  )


def write(
  folder: Path,
  data: Path,
  variant: str = "plain",
  seed: int = 0,
  *,
  names_data: bool = False,
):
  """A run of `tiny_run`, whose checkpoint 1 has the seed's parameters."""
  config = tiny_run.get_config(variant)
  if names_data:
    config.data.path = str(data)
  categories = tasks.find_categories(config, open_dataset(data), "train")
  write_record(folder, config, data, categories)
  run = read_run(folder)
  task = tasks.make_task(run.config, run.tokenizer, categories=run.categories)
  checkpoints = Checkpoints(folder)
  params = jax.jit(lambda: tasks.initial_params(task, seed))()
  checkpoints.save(1, {"params": params})
  checkpoints.wait()
  checkpoints.close()
  return folder
