"""Draws two vectors of a row together, against the other rows of the batch.

A symmetric contrastive loss in which listings of one product don't repel.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.models import base, layers
from item_jax.objectives import samples
from item_jax.objectives.base import Context, Objective
from item_jax.objectives.keys import key_for

MAX_SCALE = 100.0  # one over the temperature; CLIP's


def make_objective(context: Context) -> Objective:
  """Image against title, for a network with the methods `image` and `title`."""
  config, network, *_ = context

  def chance_levels(store, split, tokenizer) -> dict:
    return {
      "contrastive": samples.rival_chance(
        config, store, split, tokenizer, complete=True
      )
    }

  towers = (base.with_dropout(network.module, x) for x in ("image", "title"))
  return make_loss(*towers)._replace(
    chance_levels=chance_levels,
    train_flops=network.train_flops,
    passes=network.passes,
  )


class Similar(NamedTuple):
  """Sums over the rows that count; divide by how many they are."""

  nll: Any  # mean of the two directions
  forward: Any  # rows whose own b is nearer to their a than the others'
  backward: Any


def make_loss(image: Callable, title: Callable) -> Objective:
  """Image against title, for a model of two towers (CLIP, 2.3).

  Args:
    image, title: (params, batch, *, key) -> [B,P], not normalised; params
      holds the scalar "log_scale".
  """

  def corrupt(root, step, batch: Batch) -> Batch:
    return batch

  def counts(batch: Batch) -> dict:
    rows = batch.complete_rows.astype(jnp.float32).sum()
    names = ("contrastive", "image_to_title", "title_to_image")
    return dict.fromkeys(names, rows)

  def totals(params, batch: Batch, key) -> tuple[dict, dict]:
    similar = similar_nll(
      layers.unit(image(params, batch, key=key_for(key, 0, "image"))),
      layers.unit(title(params, batch, key=key_for(key, 0, "title"))),
      params["log_scale"],
      same_item_mask_BB=same_item_mask(batch),
      valid_B=batch.complete_rows,
    )
    return {
      "contrastive": similar.nll,
      "image_to_title": similar.forward,
      "title_to_image": similar.backward,
    }, {}

  return Objective(
    corrupt,
    counts,
    totals,
    {"contrastive": 1.0},
    whole_batch="task='contrastive'",
  )


def similar_nll(
  a_BD, b_BD, log_scale, *, same_item_mask_BB, valid_B
) -> Similar:
  """Symmetric InfoNCE: each a's own b against the other b's, and back.

  Args:
    a_BD, b_BD: of unit length.
    log_scale: logarithm of one over the temperature; `MAX_SCALE` at most.
    same_item_mask_BB: bool, pairs of rows that are no negatives of each other.
    valid_B: bool. Other rows take no part: neither compared nor negatives.
  """
  # where, not a product, and before the product of the two: what stands in a
  # row that takes no part may be nan.
  a_BD = jnp.where(valid_B[:, None], a_BD.astype(jnp.float32), 0.0)
  b_BD = jnp.where(valid_B[:, None], b_BD.astype(jnp.float32), 0.0)
  own_BB = jnp.eye(len(valid_B), dtype=bool)
  negative_BB = ~same_item_mask_BB & valid_B[:, None] & valid_B[None, :]
  logits_BB = bounded_scale(log_scale) * jnp.matmul(
    a_BD, b_BD.T, precision="highest"
  )
  # Its own stays in every row, so that no softmax is empty.
  logits_BB = jnp.where(own_BB | negative_BB, logits_BB, -jnp.inf)

  def one_way(axis):
    log_p_B = jnp.diagonal(jax.nn.log_softmax(logits_BB, axis=axis))
    right_B = jnp.argmax(logits_BB, axis=axis) == jnp.arange(len(valid_B))
    return (
      -jnp.where(valid_B, log_p_B, 0.0).sum(),
      (right_B & valid_B).astype(jnp.float32).sum(),
    )

  forward_nll, forward = one_way(axis=1)
  backward_nll, backward = one_way(axis=0)
  return Similar((forward_nll + backward_nll) / 2, forward, backward)


def same_item_mask(batch: Batch):
  """Bool [B,B]: rows of one product, or with one title; a row and itself."""
  one_title_BB = batch.title_B[:, None] == batch.title_B[None, :]
  # Having no title in common is not having a title in common.
  titled_BB = batch.has_title_B[:, None] & batch.has_title_B[None, :]
  one_product_BB = batch.product_B[:, None] == batch.product_B[None, :]
  return one_product_BB | (one_title_BB & titled_BB)


@jax.custom_vjp
def bounded_scale(log_scale):
  """exp(log_scale), `MAX_SCALE` at most.

  At the bound the gradient may still bring it back: that of a plain minimum
  is zero, and a temperature once too cold would stay so for ever.
  """
  return jnp.minimum(jnp.exp(log_scale), MAX_SCALE)


def _bounded_forward(log_scale):
  scale = bounded_scale(log_scale)
  return scale, scale


def _bounded_backward(scale, cotangent):
  gradient = cotangent * scale
  bounded = jnp.maximum(gradient, 0.0)
  return (jnp.where(scale < MAX_SCALE, gradient, bounded),)


bounded_scale.defvjp(_bounded_forward, _bounded_backward)
