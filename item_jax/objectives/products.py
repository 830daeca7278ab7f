"""Draws listings of one product together: supervised contrastive learning.

paper: not stated; ours, for catalogues that know of a part of their listings
which are one product.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.config_products import Products
from item_jax.data import pipeline
from item_jax.data.order import training_order
from item_jax.models import base, layers
from item_jax.models.base import Vocabulary
from item_jax.objectives import contrastive, masking, views
from item_jax.objectives.base import Context, Objective
from item_jax.objectives.keys import key_for

_SAMPLE = 1_024  # rows that the chance level is estimated from
_APART = -1e9  # the logit of rows that are not compared


def make_objective(context: Context) -> Objective:
  """For a network with the method `encode` of `models.item.Item`.

  Rows of its batches come in pairs of one product (`TaskSpec.paired`).
  """
  config, network, vocabulary, _ = context
  model = network.module

  def chance_levels(store, split, tokenizer) -> dict:
    batches = pipeline.training_batches(
      store,
      split,
      tokenizer,
      image_size=8,  # not looked at
      max_title_tokens=config.model.max_title_tokens,
      batch_size=config.batch_size,
      seed=config.seed,
      start=0,
      stop=-(-_SAMPLE // config.batch_size),
      order=training_order(config, store),
    )
    with contextlib.closing(batches):
      found = [chance_level(batch) for batch in batches]
    rows = sum(rows for _, rows in found)
    return {"products": float(sum(nll for nll, _ in found) / max(rows, 1))}

  loss = make_loss(
    base.with_dropout(model, "embed"),
    config.products,
    vocabulary,
    num_patches=model.num_patches,
    width=config.model.width,
  )
  return loss._replace(
    chance_levels=chance_levels,
    train_flops=network.train_flops,
    passes=network.passes,
  )


class View(NamedTuple):
  batch: Batch  # as it came
  augmented: Batch
  masked_BN: Any  # bool, hidden patches; None where none is


def make_loss(
  embed: Callable,
  options: Products,
  vocabulary: Vocabulary,
  *,
  num_patches: int,
  width: int | None = None,
) -> Objective:
  """One view of each row against those of the other rows of the batch.

  Args:
    embed: (params, batch, masked_BN, *, key) -> [B,D]; `key` is dropout's.
    num_patches: N.
    width: of [CLS], which comes first in a vector that has more. There the
      loss is the mean of that of the vectors and that of [CLS], which the
      rest would else leave little to learn.
  """

  def corrupt(root, step, batch: Batch) -> View:
    def key(purpose: str):
      return key_for(root, step, f"products/{purpose}")

    masked_BN = None
    if options.patch_drop:
      masked_BN = masking.mask_patches(
        key("patches"),
        batch.has_image_B,
        num_patches=num_patches,
        rate=options.patch_drop,
      ).masked_BN
    keys = [key(name) for name in ("crop", "light", "tokens", "modalities")]
    augmented = views.augment(keys, batch, options, vocabulary)
    return View(batch, augmented, masked_BN)

  def counts(view: View) -> dict:
    together_BB, _ = compared(view.batch)
    rows = together_BB.any(1).astype(jnp.float32).sum()
    return {"products": rows, "products_accuracy": rows}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    g_BD = embed(params, view.augmented, view.masked_BN, key=key)
    vectors = [g_BD]
    if width and width < g_BD.shape[1]:
      vectors.append(g_BD[:, :width])
    found = [
      together_nll(
        layers.unit(x.astype(jnp.float32)),
        *compared(view.batch),
        temperature=options.temperature,
      )
      for x in vectors
    ]
    nll = sum(nll for nll, _ in found) / len(found)
    return {"products": nll, "products_accuracy": found[0][1]}, {}

  return Objective(
    corrupt,
    counts,
    totals,
    {"products": 1.0},
    whole_batch="task='products'",
  )


def compared(batch: Batch) -> tuple[Any, Any]:
  """Bool [B,B] twice: pairs of one product, and pairs that are compared.

  A row with nothing in it takes no part. Rows with one title of two products
  are neither drawn together nor apart.
  """
  there_B = batch.has_image_B | batch.has_title_B
  pair_BB = there_B[:, None] & there_B[None, :]
  pair_BB &= ~jnp.eye(batch.has_title_B.shape[0], dtype=bool)
  same_BB = batch.product_B[:, None] == batch.product_B[None, :]
  together_BB = pair_BB & same_BB
  apart_BB = pair_BB & ~contrastive.same_item_mask(batch)
  return together_BB, together_BB | apart_BB


def together_nll(g_BD, together_BB, compared_BB, *, temperature: float):
  """Sums the supervised contrastive loss (Khosla et al. 2020, L_out, eq. 2).

  Of each row the mean, over the rows of its product, of -log of their softmax
  among all rows it is compared with. A row without such counts nothing.

  Args:
    g_BD: float32, of unit length.
    together_BB: bool, pairs of one product, of `compared_BB`; no row with
      itself.

  Returns:
    (nll, hits), summed over the rows that have one of their product; hits are
    rows whose nearest is.
  """
  # where, before the product: what stands in a row that takes no part may be
  # nan.
  g_BD = jnp.where(compared_BB.any(1)[:, None], g_BD, 0.0)
  logits_BB = jnp.matmul(g_BD, g_BD.T, precision="highest") / temperature
  logits_BB = jnp.where(compared_BB, logits_BB, _APART)
  log_p_BB = jax.nn.log_softmax(logits_BB, axis=1)
  picked_B = jnp.where(together_BB, log_p_BB, 0.0).sum(1)
  partners_B = together_BB.sum(1)
  nearest_B1 = jnp.argmax(logits_BB, axis=1)[:, None]
  hits_B1 = jnp.take_along_axis(together_BB, nearest_B1, axis=1)
  return (
    -(picked_B / jnp.maximum(partners_B, 1)).sum(),
    hits_B1.astype(jnp.float32).sum(),
  )


def chance_level(batch: Batch) -> tuple[Any, Any]:
  """(nll, rows) of vectors that are all the same."""
  together_BB, compared_BB = compared(batch)
  rows_B = together_BB.any(1)
  log_B = jnp.log(jnp.maximum(compared_BB.sum(1), 1))
  return jnp.where(rows_B, log_B, 0.0).sum(), rows_B.sum()
