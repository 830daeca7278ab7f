"""Predicts the leaf category from a model's features: training with labels."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.data.records import Dataset
from item_jax.data.unreadable import readable
from item_jax.errors import UserError
from item_jax.objectives import chance
from item_jax.objectives.base import Context, Objective

HEAD = "category_head"


def make_objective(context: Context) -> Objective:
  """A linear head on what the embedding is made of, for any network.

  `context.categories` are the classes, as `find_categories` orders them: that
  of their hashes, which is the order of the head's columns and of predictions.
  """
  network, categories = context.network, context.categories
  classes_C, order_C = class_table(categories)
  if (order_C != range(len(categories))).any():
    raise ValueError("categories are not in the order of their hashes")

  def init_params(key) -> dict:
    # Zeros: nothing is preferred before anything is seen, and the first loss
    # is ln C.
    head = {
      "kernel": jnp.zeros((network.dims, len(categories)), jnp.float32),
      "bias": jnp.zeros((len(categories),), jnp.float32),
    }
    return {HEAD: head}

  def predict(params, batch):
    return log_probabilities(params, network.embed(params, batch))

  def chance_levels(store, split, tokenizer) -> dict:
    rows = _count_rows(store, split).values()
    return {"category": chance.category_chance(list(rows))}

  head_flops = 2 * network.dims * len(categories)
  return make_loss(network.features, classes_C=classes_C)._replace(
    init_params=init_params,
    chance_levels=chance_levels,
    predict=predict,
    train_flops=network.train_flops + 3 * head_flops,
    passes=network.passes,
  )


def find_categories(store: Dataset, split: str) -> tuple[str, ...]:
  """The leaf paths of a split, in the order of their hashes.

  Raises:
    UserError: fewer than two.
  """
  names = sorted(_count_rows(store, split))
  if len(names) < 2:
    raise UserError(
      "task='category' needs two leaf categories or more, split"
      f" {split!r} of {store.path} has {names}"
    )
  _, order_C = class_table(names)
  return tuple(names[c] for c in order_C)


def _count_rows(store: Dataset, split: str) -> dict[str, int]:
  """{leaf path: rows}, as `prepare` has counted them."""
  known = store.catalogue.get("categories", {}).get("rows")
  if known is not None:
    return known.get(split, {})
  # Prepared by an earlier version: every record is read, image and all.
  rows = Counter(record.category for record in readable(store.source(split)))
  rows.pop("", None)
  return rows


class View(NamedTuple):
  batch: Batch
  class_B: Any  # int32, any class where known_B is False
  known_B: Any  # bool, the row's category is one of the classes


def make_loss(features: Callable, *, classes_C) -> Objective:
  """Cross-entropy of the leaf category (method, 5: supervised ITEm, ResNet50).

  Args:
    features: (params, batch, *, train, key) -> (float32 [B,D], batch_stats).
    classes_C: uint32 hashes of the classes, ascending, as of `class_table`;
      params["category_head"]'s column c is classes_C[c]. A row of another
      category, or of none, does not count.
  """
  classes_C = np.asarray(classes_C)
  if classes_C.dtype != np.uint32 or classes_C.ndim != 1 or not len(classes_C):
    raise ValueError(
      f"classes_C is {classes_C.dtype} {classes_C.shape}, expected uint32 [C]"
    )
  if (classes_C[1:] <= classes_C[:-1]).any():
    raise ValueError("classes_C must ascend, each hash once")

  def corrupt(root, step, batch: Batch) -> View:
    return View(batch, *find_classes(batch.category_B, classes_C))

  def counts(view: View) -> dict:
    rows = view.known_B.astype(jnp.float32).sum()
    return {"category": rows, "category_accuracy": rows}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    f_BD, batch_stats = features(params, view.batch, train=True, key=key)
    log_p_BC = log_probabilities(params, f_BD)
    picked_B = jnp.take_along_axis(log_p_BC, view.class_B[:, None], axis=1)[
      :, 0
    ]
    right_B = jnp.argmax(log_p_BC, axis=-1) == view.class_B
    return {
      "category": -jnp.where(view.known_B, picked_B, 0.0).sum(),
      "category_accuracy": (right_B & view.known_B).astype(jnp.float32).sum(),
    }, batch_stats

  return Objective(corrupt, counts, totals, {"category": 1.0})


def log_probabilities(params, features_BD):
  """Log of each class's probability, float32 [B,C].

  `params` holds {"category_head": {"kernel": [D,C], "bias": [C]}}. Computed at
  full precision: a GPU's default would rank close classes by rounding.
  """
  head = params[HEAD]
  logits_BC = (
    jnp.matmul(
      features_BD.astype(jnp.float32), head["kernel"], precision="highest"
    )
    + head["bias"]
  )
  return jax.nn.log_softmax(logits_BC, axis=-1)


def find_classes(category_B, classes_C):
  """(class_B int32, known_B bool) of hashes; 0 stands for no category."""
  classes_C = jnp.asarray(classes_C)
  index_B = jnp.searchsorted(classes_C, category_B)
  class_B = jnp.minimum(index_B, len(classes_C) - 1).astype(jnp.int32)
  return class_B, (classes_C[class_B] == category_B) & (category_B != 0)


def class_table(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """The hashes of category paths, and which name each of them is.

  Args:
    names: full paths of leaf categories, each once, in any order.

  Returns:
    classes_C, uint32 and ascending, and order_C, int: classes_C[c] is the
    hash of names[order_C[c]].

  Raises:
    UserError: there is none; two share a hash; one hashes to 0, which stands
      for no category.
  """
  if not len(names):
    raise UserError("no category to tell apart: the training split names none")
  hash_N = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
  order_C = np.argsort(hash_N, kind="stable")
  classes_C = hash_N[order_C]
  for c in np.flatnonzero(classes_C[1:] == classes_C[:-1]):
    one, other = names[order_C[c]], names[order_C[c + 1]]
    raise UserError(
      f"categories {one!r} and {other!r} share the hash {classes_C[c]}: rename"
      " one of them"
    )
  if not classes_C[0]:
    raise UserError(
      f"category {names[order_C[0]]!r} hashes to 0, which stands for none:"
      " rename it"
    )
  return classes_C, order_C
