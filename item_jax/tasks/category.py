"""The leaf category as a task, for any network: training with labels."""

from collections import Counter
from collections.abc import Sequence

import jax.numpy as jnp

from item_jax.config import Config
from item_jax.data.records import Store
from item_jax.data.tokenizer import Tokenizer
from item_jax.data.unreadable import readable
from item_jax.errors import UserError
from item_jax.objectives import category, chance
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network

HEAD = "category_head"


def find_categories(store: Store, split: str) -> tuple[str, ...]:
  """The leaf paths of a split, in the order of their hashes.

  Raises:
    UserError: fewer than two.
  """
  names = sorted(_count(store, split))
  if len(names) < 2:
    raise UserError(
      "task='category' needs two leaf categories or more, split"
      f" {split!r} of {store.path} has {names}"
    )
  _, order_C = category.class_table(names)
  return tuple(names[c] for c in order_C)


def make_task(
  config: Config,
  tokenizer: Tokenizer,
  network: Network,
  categories: Sequence[str],
) -> Task:
  """A linear head on what the embedding is made of; `words` is not used.

  Args:
    categories: the classes, as `find_categories` orders them: that of their
      hashes, which is the order of the head's columns and of predictions.
  """
  del config, tokenizer
  classes_C, order_C = category.class_table(categories)
  if (order_C != range(len(categories))).any():
    raise ValueError("categories are not in the order of their hashes")

  def init(key):
    # Zeros: nothing is preferred before anything is seen, and the first loss
    # is ln C.
    head = {
      "kernel": jnp.zeros((network.dims, len(categories)), jnp.float32),
      "bias": jnp.zeros((len(categories),), jnp.float32),
    }
    return {**network.init(key), HEAD: head}

  def predict(params, batch):
    return category.log_probabilities(params, network.embed(params, batch))

  def class_chance(store, split, tokenizer):
    del tokenizer
    times = _count(store, split).values()
    return {"category": chance.category_chance(list(times))}

  return Task(
    objective=category.make_objective(network.features, classes_C=classes_C),
    init=init,
    core=network.init,
    embed=network.embed,
    predict=predict,
    floors=class_chance,
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=3 * (network.embed_flops + 2 * network.dims * len(categories)),
    embed_flops=network.embed_flops,
  )


def _count(store: Store, split: str) -> dict[str, int]:
  """{leaf path: rows}, as `prepare` has counted them."""
  known = store.catalogue.get("categories", {}).get("rows")
  if known is not None:
    return known.get(split, {})
  # Prepared by an earlier version: every record is read, photo and all.
  times = Counter(record.category for record in readable(store.source(split)))
  times.pop("", None)
  return times
