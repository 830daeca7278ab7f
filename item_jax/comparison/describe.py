"""Describes what each system is: parameters, work and modalities."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.config import Config
from item_jax.errors import UserError


def describe(configs: Mapping[str, Config], data: Path) -> dict[str, dict]:
  """Describes systems by the shapes of their arrays.

  Nothing is computed on a device, so that other processes can train there.
  Files that a system starts from are read now: another system may train for
  hours before it is this one's turn.

  Returns:
    {system: {"parameters": those an embedding needs, "flops_per_sample",
    "modalities": those that can be exported, "side": "image" or "title" where
    it sees only that one, else None, "predicts": whether it has a category
    head}}

  Raises:
    UserError: a system that cannot be made, or not of the files that it starts
      from; names it.
  """
  import jax

  jax.config.update("jax_platforms", "cpu")
  from item_jax import tasks
  from item_jax.data.records import open_dataset
  from item_jax.data.tokenizer import load_tokenizer
  from item_jax.training.init_from import follow_start, starting_params

  store = open_dataset(data)
  own = load_tokenizer(Path(store.path) / "tokenizer.json")
  key = jax.eval_shape(lambda: jax.random.key(0))
  categories = {}  # of a split, found once
  found = {}
  for name, config in configs.items():
    split = config.data.train_split
    if config.task == "category" and split not in categories:
      categories[split] = tasks.find_categories(config, store, split)
    classes = categories[split] if config.task == "category" else ()
    tokenizer = own
    if config.data.tokenizer:
      tokenizer = load_tokenizer(config.data.tokenizer)
    try:
      config = follow_start(config)
      task = tasks.make_task(config, tokenizer, categories=classes)
      if config.start_from or config.model.stem != "patch":
        make = functools.partial(tasks.initial_params, task, 0)
        params = _zeros(jax.eval_shape(make))
        starting_params(config, task, tokenizer, classes, params)
    except UserError as error:
      raise UserError(f"{name}: {error}") from error
    found[name] = {
      "parameters": tasks.count_parameters(jax.eval_shape(task.core, key)),
      "flops_per_sample": float(task.train_flops),
      "modalities": list(task.modalities),
      "side": task.modality,
      "predicts": task.predict is not None,
    }
  return found


def _zeros(shapes: Any) -> Any:
  """Arrays of shapes alone, of which all values are one in memory."""
  import jax

  return jax.tree.map(
    lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes
  )
