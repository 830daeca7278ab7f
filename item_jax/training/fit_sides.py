"""Learns from data what the sides of a network begin as (`models.sides`)."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from item_jax.batch import Batch
from item_jax.evaluation import transform
from item_jax.models.base import SIDES
from item_jax.models.sides import channels
from item_jax.tasks import Task

_SAMPLE = 2_048  # images that whitening is learnt from
# What varies hardly at all is noise, which whitening is not to bring to the
# length of the rest.
_WHITEN = transform.Recipe("whitened", ridge=1.0)
_NEVER = -30.0  # softplus is 0: a token that says nothing


def fit_sides(
  task: Task,
  params: Any,
  read: Callable[[int], Iterator[Batch]],
  tokens_NT: np.ndarray,
) -> Any:
  """Returns `params` with those of the sides made of the training split.

  Args:
    read: read(n) gives Batches of n rows spread over the split.
    tokens_NT: titles of it.
  """
  module = task.network.module

  @jax.jit
  def features(params, batch):
    return module.apply({"params": params}, batch, method="image_features")

  found = [
    jax.tree.map(np.asarray, features(params, batch)) for batch in read(_SAMPLE)
  ]
  sides = dict(params[SIDES])
  for name in channels(module.stem):
    image_NC = np.concatenate([known[name] for known in found])
    # Of nothing that differs: random directions, as they are, for what comes.
    if made := whitening(image_NC, module.sides_width):
      sides |= dict(zip((f"{name}_mean", f"{name}_kernel"), made, strict=True))
  sides["rarity"] = rarity(
    tokens_NT, len(sides["rarity"]), special=task.vocabulary.special
  )
  return {**params, SIDES: sides}


def whitening(
  image_NC: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray] | None:
  """A side's mean and kernel: principal directions, the longest first.

  Where there are fewer than `width` the rest is 0. None where there is no
  image, or where all are the same.

  Args:
    image_NC: features of images; zeros of a row without one.
  """
  if not image_NC.any():
    return None
  spectrum = transform.measure(image_NC)
  matrix_CC = transform.make(spectrum, _WHITEN).matrix_DE
  if matrix_CC is None:
    return None
  C = len(matrix_CC)
  kernel_CW = np.zeros((C, width), np.float32)
  held_CW = matrix_CC[:, :width] / math.sqrt(C)
  kernel_CW[:, : held_CW.shape[1]] = held_CW
  return spectrum.mean_D.astype(np.float32), kernel_CW


def rarity(
  tokens_NT: np.ndarray, size: int, *, special: tuple[int, ...]
) -> np.ndarray:
  """Of each of `size` tokens what softplus makes its weight in TF-IDF of.

  Args:
    special: ids of tokens that are no words, the padding among them.
  """
  count_V = np.zeros(size)
  for tokens_T in np.asarray(tokens_NT):
    count_V[np.unique(tokens_T)] += 1
  idf_V = np.log((1 + len(tokens_NT)) / (1 + count_V)) + 1
  rarity_V = np.log(np.expm1(idf_V))
  rarity_V[list(special)] = _NEVER
  return rarity_V.astype(np.float32)
