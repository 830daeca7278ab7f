"""Measures where an embedding's information comes from, of ITEm's network.

Attention of [CLS] to patches and tokens by layer, and which modality's inputs
the gradient of each objective goes to. Both look at the network from outside:
what trains is not changed for them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.evaluation.weighting import with_absent
from item_jax.models import base
from item_jax.models.item import Item
from item_jax.models.item_module import INPUTS
from item_jax.models.sides import channels
from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for
from item_jax.tasks import Task
from item_jax.training.part_weights import trained_weights

PARTS = ("[CLS]", "patches", "tokens")


def is_followed(task: Task) -> bool:
  """Whether [CLS] reads both modalities in one transformer, as ITEm's does."""
  return isinstance(task.network.module, Item)


def cosine_shares(
  model: Item, params: Any, chosen: tuple[float, ...] | None = None
) -> dict[str, float]:
  """What [CLS] and each side are of a cosine; {} of a network without sides.

  Args:
    chosen: those of a space that embeddings are in; None for the network's own.
  """
  if base.SIDES not in params:
    return {}
  shares = trained = trained_weights(params)
  if chosen:  # perhaps of rows that had no title, or no image
    shares = with_absent(chosen, trained)
  sides = {"image": "stem's features", "appearance": "appearance"}
  known = [sides[name] for name in channels(model.stem)]
  return dict(zip(["[CLS]", *known, "title side"], shares, strict=True))


def cls_attention(model: Item, params: Any, batch: Batch) -> jax.Array:
  """Attention weights of [CLS] in every layer, float32 [B, layers, heads, S].

  Computed from the queries and keys that a layer makes, as the kernels that
  train give no weights. Positions are [CLS], patches, title, as of
  `Item.encode`; padding and a missing modality have 0.
  """
  # Rematerialised layers keep nothing; they compute the same.
  config = dataclasses.replace(model.config, remat=False)
  _, kept = model.clone(config=config).apply(
    {"params": params},
    batch,
    method="encode",
    mutable=["intermediates"],
    capture_intermediates=lambda module, method: module.name == "qkv",
  )
  layers: Any = kept["intermediates"]["encoder"]
  made = [
    layers[f"layer_{i}"]["attention"]["qkv"]["__call__"][0]
    for i in range(config.layers)
  ]
  # Of each layer queries, keys, values [B,S,heads,d]: the query at [CLS].
  query = jnp.stack([x[0][:, 0] for x in made], axis=1).astype(jnp.float32)
  key = jnp.stack([x[1] for x in made], axis=1).astype(jnp.float32)
  logits = jnp.einsum("blhd,blshd->blhs", query, key) / query.shape[-1] ** 0.5
  N, T = model.num_patches, model.max_title_tokens
  real_BT = (batch.tokens_BT != model.pad) & batch.has_title_B[:, None]
  length_B = 1 + jnp.where(batch.has_image_B, N, 0) + real_BT.sum(-1)
  real_BS = jnp.arange(1 + N + T) < length_B[:, None]
  weights = jax.nn.softmax(
    jnp.where(real_BS[:, None, None], logits, -jnp.inf), axis=-1
  )
  # Where the image is missing the title came first.
  back = jnp.concatenate(
    [weights[..., :1], weights[..., 1 + T :], weights[..., 1 : 1 + T]], axis=-1
  )
  return jnp.where(batch.has_image_B[:, None, None, None], weights, back)


def attention_lines(
  task: Task, params: Any, batches: Iterable[tuple[Batch, int]]
) -> list[dict[str, Any]]:
  """A line a layer: what [CLS] attends to, of 1; mean of heads and listings.

  The last line, "positions", is what equal attention to each real position
  gives.

  Args:
    batches: (Batch, rows): rows that count, the first ones of each.
  """
  model = task.network.module
  N = model.num_patches

  @jax.jit
  def parts(params, batch):
    weights = cls_attention(model, params, batch).mean(2)  # [B,layers,S]
    real_BT = (batch.tokens_BT != model.pad) & batch.has_title_B[:, None]
    patches_B = jnp.where(batch.has_image_B, N, 0)
    counts_B3 = jnp.stack(
      [jnp.ones_like(patches_B), patches_B, real_BT.sum(1)], axis=1
    )
    equal_B3 = counts_B3 / counts_B3.sum(1, keepdims=True)
    ends = (weights[..., :1], weights[..., 1 : 1 + N], weights[..., 1 + N :])
    of_layers = jnp.stack([part.sum(-1) for part in ends], axis=-1)
    return jnp.concatenate([of_layers, equal_B3[:, None]], axis=1)

  found = [np.asarray(parts(params, b))[:rows] for b, rows in batches]
  means = np.concatenate(found).astype(float).mean(0)
  lines = []
  for number, line in enumerate(means.tolist()):
    name = number + 1 if number < len(means) - 1 else "positions"
    whole = line[1] + line[2]
    lines.append(
      {
        "layer": name,
        **dict(zip(PARTS, line, strict=True)),
        "title_share": line[2] / whole if whole else None,
      }
    )
  return lines


def gradient_lines(
  task: Task, params: Any, batches: Iterable[tuple[Batch, int]], *, seed: int
) -> list[dict[str, Any]]:
  """A line an objective: how strongly it pulls at each modality's inputs.

  The inputs are the vectors at patches and tokens that enter the transformer,
  position and segment included. The gradient is that of a relative change of
  each of their numbers (gradient times input), as the scales of patches and
  tokens differ and the layer norms after them remove scales. "image" and
  "title" are its length over all positions of a listing, of the batch's mean
  loss times its rows, mean of listings; "title_share" is the title's part of
  their sum, None where the objective reaches neither. "loss" is the weighted
  sum that is trained. Objectives of weight 0 have no line. Masks and negative
  pairs are drawn as in training.

  Args:
    batches: (Batch, rows): rows that count, the first ones of each.
    seed: of the draw.
  """
  objective, root = task.objective, jax.random.key(seed)
  names = [name for name, weight in objective.weights.items() if weight]

  @jax.jit
  def run(params, batch, step):
    view = objective.corrupt(root, step, batch)
    return gradient_norms(
      objective,
      params,
      view,
      key_for(root, step, "dropout"),
      inputs=_input_shapes(task.network.module, len(batch.tokens_BT)),
    )

  total = {name: np.zeros(2) for name in [*names, "loss"]}
  count = 0
  for step, (batch, rows) in enumerate(batches):
    found = jax.device_get(run(params, batch, step))
    for name, norm_B2 in found.items():
      total[name] += norm_B2[:rows].sum(0) * len(norm_B2)
    count += rows
  lines = []
  for name, (image, title) in total.items():
    whole = image + title
    lines.append(
      {
        "objective": name,
        "image": float(image / count),
        "title": float(title / count),
        "title_share": float(title / whole) if whole else None,
      }
    )
  return lines


def _input_shapes(model: Item, rows: int) -> dict[str, tuple[int, int, int]]:
  D = model.config.width
  return {
    "image": (rows, model.num_patches, D),
    "title": (rows, model.max_title_tokens, D),
  }


def gradient_norms(
  objective: Objective, params: Any, view: Any, key, *, inputs: dict
) -> dict[str, jax.Array]:
  """Norms of each objective's gradient, {name: float32 [B, 2]}: image, title.

  Args:
    view: of `objective.corrupt`. key: dropout's.
    inputs: {modality: shape of its inputs}, as of `gradient_lines`.
  """
  weights = {n: w for n, w in objective.weights.items() if w}
  counts = objective.counts(view)

  def means(changes):
    with nn.intercept_methods(_changed(changes)):
      totals, _ = objective.totals(params, view, key)
    found = [totals[n] / jnp.maximum(counts[n], 1.0) for n in weights]
    found.append(
      sum(weights[n] * x for n, x in zip(weights, found, strict=True))
    )
    return jnp.stack([x.astype(jnp.float32) for x in found])

  zeros = {name: jnp.zeros(shape) for name, shape in inputs.items()}
  found, pull = jax.vjp(means, zeros)

  def norms(one):
    (gradients,) = pull(one)
    lengths = [jnp.sqrt((gradients[m] ** 2).sum((1, 2))) for m in INPUTS]
    return jnp.stack(lengths, axis=-1)

  # One after the other, so that one backward pass is compiled and kept.
  of_each = jax.lax.map(norms, jnp.eye(len(found)))
  return dict(zip([*weights, "loss"], of_each, strict=True))


def _changed(changes: dict[str, jax.Array]) -> Callable:
  """Multiplies the inputs of each modality by 1 + change, as they are made."""
  modality = {method: name for name, method in INPUTS.items()}

  def intercept(call: Callable, args, kwargs, context):
    found = call(*args, **kwargs)
    name = modality.get(context.method_name)
    if name is None or not isinstance(context.module, Item):
      return found
    return found * (1 + changes[name]).astype(found.dtype)

  return intercept
