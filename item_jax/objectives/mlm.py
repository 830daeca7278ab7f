"""Predicts masked tokens of titles (BERT, 3.1): what trains a text encoder."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.config import Mask
from item_jax.models import base, cost, memory
from item_jax.models.base import Vocabulary
from item_jax.objectives import chance, losses, masking, samples
from item_jax.objectives.base import Context, Objective


def make_objective(context: Context) -> Objective:
  """MLM for a network with the methods `encode` and `predict`."""
  config, network, vocabulary, _ = context
  m, model = config.model, network.module
  rows = base.padded_vocab_size(config, vocabulary)
  slots = masking.max_masked_tokens(m.max_title_tokens, config.mask.title_rate)

  def predict(params, states_BSD, positions_BK):
    return model.apply(
      {"params": params}, states_BSD, positions_BK, method="predict"
    )

  def init_params(key) -> dict:
    position = jnp.zeros((1, 1), jnp.int32)
    made = model.init(key, base.example_batch(config), position)
    return dict(made["params"])

  def chance_levels(store, split, tokenizer) -> dict:
    titles = samples.titles(store, split, tokenizer, m.max_title_tokens)
    return {"mlm": chance.token_chance(titles, tokenizer.special)}

  head = cost.token_head_flops(slots, width=m.width, vocab_size=rows)
  encode = base.with_dropout(model, "encode")
  return make_loss(encode, predict, config.mask, vocabulary)._replace(
    init_params=init_params,
    chance_levels=chance_levels,
    train_flops=network.train_flops + 3 * head,
    passes=network.passes,
    heads=(
      memory.Head(
        slots,
        decoders=1,
        out=rows,
        transforms=1,
        width=m.width,
        itemsize=jnp.dtype(m.dtype).itemsize,
      ),
    ),
    token_decoders=1,
  )


class View(NamedTuple):
  batch: Batch  # its tokens masked
  masked_tokens: masking.MaskedTokens


def make_loss(
  encode: Callable, predict: Callable, mask: Mask, vocabulary: Vocabulary
) -> Objective:
  """MLM for a text encoder.

  Args:
    encode: (params, batch, *, key) -> states [B,S,D]; `key` is dropout's.
    predict: (params, states_BSD, positions_BK) -> logits [B,K,V], positions
      within the title.
  """

  def corrupt(root, step, batch: Batch) -> View:
    masked = masking.mask_titles(root, step, batch, mask, vocabulary)
    return View(batch._replace(tokens_BT=masked.seen_BT), masked)

  def counts(view: View) -> dict:
    masked = view.masked_tokens.valid_BK.astype(jnp.float32).sum()
    return {"mlm": masked, "mlm_accuracy": masked}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    masked = view.masked_tokens
    states_BSD = encode(params, view.batch, key=key)
    logits_BKV = predict(params, states_BSD, masked.positions_BK)
    weights_BK = masked.valid_BK.astype(jnp.float32)
    nll, hits = losses.token_scores(logits_BKV, masked.targets_BK, weights_BK)
    return {"mlm": nll, "mlm_accuracy": hits}, {}

  return Objective(corrupt, counts, totals, {"mlm": 1.0})
