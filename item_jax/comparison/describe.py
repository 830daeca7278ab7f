"""Describes what each system is: parameters, work and modalities."""

from collections.abc import Mapping
from pathlib import Path

from item_jax.config import Config
from item_jax.errors import UserError


def describe(configs: Mapping[str, Config], data: Path) -> dict[str, dict]:
  """Describes systems by the shapes of their arrays.

  Nothing is computed on a device, so that other processes can train there.

  Returns:
    {system: {"parameters": those an embedding needs, "flops_per_sample",
    "modalities": those that can be exported, "side": "image" or "title" where
    it sees only that one, else None, "predicts": whether it has a category
    head}}

  Raises:
    UserError: a system that cannot be made; names it.
  """
  import jax

  jax.config.update("jax_platforms", "cpu")
  from item_jax import tasks
  from item_jax.data.records import open_dataset
  from item_jax.data.tokenizer import load_tokenizer
  from item_jax.training.init_from import follow_start

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
