"""Learns from data what the sides of a network begin as (`models.sides`)."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from item_jax.batch import Batch
from item_jax.evaluation import transform
from item_jax.models import words
from item_jax.models.base import SIDES
from item_jax.models.sides import channels
from item_jax.tasks import Task

_SAMPLE = 2_048  # images that whitening is learnt from
_TITLES = 4_096  # whose words are looked for at once
# What varies hardly at all is noise, which whitening is not to bring to the
# length of the rest.
_WHITEN = transform.Recipe("whitened", ridge=1.0)
_NEVER = -30.0  # softplus is 0: a token that says nothing


def fit_sides(
  task: Task,
  params: Any,
  read: Callable[[int], Iterator[Batch]],
  tokens_NT: np.ndarray,
  joins_V2: np.ndarray,
) -> Any:
  """Returns `params` with those of the sides made of the training split.

  Args:
    read: read(n) gives Batches of n rows spread over the split.
    tokens_NT: titles of it. joins_V2: as of `Tokenizer.joins`.
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
  V = len(sides["rarity"])
  ids_NT, special = tokens_NT, task.vocabulary.special
  if module.whole_words:
    sides["joins"] = words.joins(joins_V2, V)
    ids_NT = word_ids(tokens_NT, tokens_NT != module.pad, sides["joins"])
    sides["long_rarity"] = rarity(ids_NT - V, V)
  sides["rarity"] = rarity(ids_NT, V, special=special)
  sides["word"] = spread(sides["word"], ids_NT, special=special)
  return {**params, SIDES: sides}


def word_ids(
  tokens_NT: np.ndarray, real_NT: np.ndarray, joins_V: np.ndarray
) -> np.ndarray:
  """Of each token what the title side counts, int [N,T].

  A word of one token is that; of several V + the place that it shares with
  others; -1 is within a word, and where no token is.
  """
  V, made = len(joins_V), []
  find = jax.jit(words.find_words)
  for at in range(0, len(tokens_NT), _TITLES):
    rows_NT = tokens_NT[at : at + _TITLES]
    found = jax.tree.map(
      np.asarray, find(rows_NT, real_NT[at : at + _TITLES], joins_V)
    )
    ids_NT = np.where(found.many_BT, V + found.code_BT % V, rows_NT)
    made.append(np.where(found.first_BT, ids_NT, -1))
  return np.concatenate(made).astype(np.int64)


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
  ids_NT: np.ndarray, size: int, *, special: tuple[int, ...] = ()
) -> np.ndarray:
  """Of each of `size` words what softplus makes its weight in TF-IDF of.

  Args:
    ids_NT: of titles' words; others than 0 to size - 1 are not looked at.
    special: ids that are no words, the padding among them.
  """
  rarity_V = np.log(np.expm1(_idf(_titles_with(ids_NT, size), len(ids_NT))))
  rarity_V[list(special)] = _NEVER
  return rarity_V.astype(np.float32)


def spread(
  word_VW: np.ndarray, ids_NT: np.ndarray, *, special: tuple[int, ...] = ()
) -> np.ndarray:
  """Directions of words, all of unit length; the signs are those of `word_VW`.

  A cosine of two titles errs by what words have in common that have nothing to
  do with each other. The words that add most to titles' lengths have a
  direction to themselves, half of all; the others are spread at random over the
  other half. Arguments as of `rarity`.
  """
  V, W = word_VW.shape
  own = W // 2
  count_V = _titles_with(ids_NT, V)
  count_V[list(special)] = 0
  adds_V = count_V * _idf(count_V, len(ids_NT)) ** 2
  strongest = np.argsort(-adds_V, kind="stable")[:own]
  strongest = strongest[adds_V[strongest] > 0]
  made_VW = np.zeros((V, W), np.float32)
  made_VW[:, own:] = np.where(word_VW[:, own:] > 0, 1, -1) / math.sqrt(W - own)
  made_VW[strongest] = 0
  made_VW[strongest, np.arange(len(strongest))] = 1
  return made_VW


def _titles_with(ids_NT, size: int) -> np.ndarray:
  """Of each word the number of titles that have it."""
  sorted_NT = np.sort(ids_NT, axis=1)
  first_NT = np.ones(sorted_NT.shape, bool)
  first_NT[:, 1:] = sorted_NT[:, 1:] != sorted_NT[:, :-1]
  ids = sorted_NT[first_NT]
  return np.bincount(ids[(ids >= 0) & (ids < size)], minlength=size)


def _idf(count_V, titles: int) -> np.ndarray:
  return np.log((1 + titles) / (1 + count_V)) + 1
