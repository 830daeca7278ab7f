"""The leaf category from a model's features: a Batch in, cross-entropy of the
right class and how often it was said out."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.errors import UserError
from item_jax.objectives.base import Objective


class View(NamedTuple):
  batch: Batch
  class_B: Any  # int32, any class where known_B is False
  known_B: Any  # bool, the row's category is one of the classes


def make_objective(features: Callable, *, classes_C) -> Objective:
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
  head = params["category_head"]
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
  place_B = jnp.searchsorted(classes_C, category_B)
  class_B = jnp.minimum(place_B, len(classes_C) - 1).astype(jnp.int32)
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
