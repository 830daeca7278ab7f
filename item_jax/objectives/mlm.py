"""Masked language modelling of titles alone: a Batch and a key in, the loss
of the hidden words and how many were found out (BERT, 3.1)."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.objectives import losses, masking
from item_jax.objectives.base import Objective


class View(NamedTuple):
  batch: Batch  # words hidden
  words: masking.MaskedTokens


def make_objective(
  encode: Callable,
  predict: Callable,
  *,
  vocabulary: int,
  special: tuple[int, ...],
  mask_id: int,
  title_rate: float,
  mask_fraction: float,
  random_fraction: float,
) -> Objective:
  """MLM for a text encoder; options as in `config.Mask`.

  Args:
    encode: (params, batch, key) -> states [B,S,D]; `key` is dropout's.
    predict: (params, states_BSD, positions_BK) -> logits [B,K,V], places within
      the title.
    vocabulary: number of words, special ones included.
    special: ids of the reserved words, ascending.
    mask_id: the id of [MASK].
  """

  def corrupt(root, step, batch: Batch) -> View:
    words = masking.mask_titles(
      root,
      step,
      batch,
      rate=title_rate,
      vocabulary=vocabulary,
      special=special,
      mask_id=mask_id,
      mask_fraction=mask_fraction,
      random_fraction=random_fraction,
    )
    return View(batch._replace(tokens_BT=words.seen_BT), words)

  def counts(view: View) -> dict:
    hidden = view.words.valid_BK.astype(jnp.float32).sum()
    return {"mlm": hidden, "mlm_accuracy": hidden}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    states_BSD = encode(params, view.batch, key)
    logits_BKV = predict(params, states_BSD, view.words.positions_BK)
    weights_BK = view.words.valid_BK.astype(jnp.float32)
    right_BK = jnp.argmax(logits_BKV, axis=-1) == view.words.targets_BK
    return {
      "mlm": losses.token_nll(logits_BKV, view.words.targets_BK, weights_BK),
      "mlm_accuracy": (right_BK * weights_BK).sum(),
    }, {}

  return Objective(corrupt, counts, totals, {"mlm": 1.0})
