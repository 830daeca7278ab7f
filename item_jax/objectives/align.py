"""The alignment loss, beyond the paper: draws two views of a listing together.

paper: not stated; ours, because the paper's five losses reward [CLS] for what
it knows of image and title together, and nothing makes it the same vector when
one of them is missing.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.config import Align
from item_jax.models import base, layers
from item_jax.models.base import Vocabulary
from item_jax.models.passes import Pass
from item_jax.objectives import contrastive, samples, views
from item_jax.objectives.base import Context, Objective
from item_jax.objectives.keys import key_for

CROSS_MODAL, AUGMENTED = "cross_modal", "augmented"
# What each kind of views is called in metrics and logs.
METRICS = {CROSS_MODAL: "align_sides", AUGMENTED: "align_twins"}


def make_objective(context: Context) -> Objective | None:
  """The alignment loss for an Item; None where its weight is 0."""
  config, network, vocabulary, _ = context
  if not config.loss.align:
    return None
  model, options = network.module, config.align
  kinds = kinds_of(options)
  encode = base.with_dropout(model, "encode")

  def embed(params, batch, *, modality, key):
    # [CLS] alone: the sides of an image and of a title have nothing in common.
    return encode(params, batch, key=key, modality=modality)[:, 0]

  def params_of(key) -> dict:
    return init_params(
      jax.random.fold_in(key, 1),
      options,
      dims=config.model.width,  # of [CLS], without sides
      std=config.model.init_std,
    )

  def chance_levels(store, split, tokenizer) -> dict:
    # The mean of the kinds, as the loss is. A cross-modal view needs both
    # modalities, an augmented one has what there is.
    levels = [
      samples.rival_chance(
        config, store, split, tokenizer, complete=kind == CROSS_MODAL
      )
      for kind in kinds
    ]
    return {"align": sum(levels) / len(levels)}

  passes = _passes(model, options)
  # A frozen stem sees each changed image anew.
  again = options.changed * network.frozen_flops * (AUGMENTED in kinds)
  loss = make_loss(embed, options, vocabulary, weight=config.loss.align)
  return loss._replace(
    init_params=params_of,
    chance_levels=chance_levels,
    train_flops=3 * sum(one.flops for one in passes) + again,
    passes=passes,
  )


def kinds_of(options: Align) -> tuple[str, ...]:
  """The kinds of views that `align.views` names."""
  if options.views == "both":
    return CROSS_MODAL, AUGMENTED
  return (options.views,)


def _passes(model, options: Align) -> tuple[Pass, ...]:
  """An encoder pass of each view."""
  passes = []
  if CROSS_MODAL in kinds_of(options):
    passes += [*model.passes("image"), *model.passes("title")]
    passes += model.passes() * options.fused
  if AUGMENTED in kinds_of(options):
    passes += model.passes() * 2
  return tuple(passes)


class View(NamedTuple):
  batch: Batch  # as it came: nothing masked, no negative pairs
  augmented: tuple[Batch, ...]  # two, where that kind is drawn


def make_loss(
  embed: Callable, options: Align, vocabulary: Vocabulary, *, weight: float
) -> Objective:
  """The mean of the kinds of views in `options.views`, named "align".

  Cross-modal views are the listing without its title and without its image,
  from the short sequences; augmented ones differ in crop, light, tokens and
  modalities, from whole sequences.

  Args:
    embed: (params, batch, *, modality, key) -> [B,D], modality "both", "image"
      or "title"; `key` is dropout's.
  """
  kinds = kinds_of(options)

  def corrupt(root, step, batch: Batch) -> View:
    if AUGMENTED not in kinds:
      return View(batch, ())

    def augment(number):
      key = key_for(root, step, f"align/twin/{number}")
      keys = jax.random.split(key, 4)
      return views.augment(keys, batch, options, vocabulary)

    second = batch if options.changed == 1 else augment(1)
    return View(batch, (augment(0), second))

  def counts(view: View) -> dict:
    rows = _rows(view.batch)
    found = {METRICS[kind]: rows[kind].sum() for kind in kinds}
    largest = found[METRICS[kinds[-1]]]
    return found | {"align": largest, "align_accuracy": largest}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    rows = _rows(view.batch)

    def project(batch, modality, purpose):
      g_BD = embed(
        params,
        batch,
        modality=modality,
        key=key_for(key, 0, f"align/{purpose}"),
      )
      return layers.unit(_project(params, g_BD))

    vectors = {}
    if CROSS_MODAL in kinds:
      names = ("image", "title") + ("both",) * options.fused
      vectors[CROSS_MODAL] = [project(view.batch, m, m) for m in names]
    if AUGMENTED in kinds:
      vectors[AUGMENTED] = [
        project(batch, "both", f"twin/{number}")
        for number, batch in enumerate(view.augmented)
      ]
    found = {
      kind: _mean_nll(
        vectors[kind], params["align_scale"], view.batch, rows[kind]
      )
      for kind in kinds
    }
    # The kinds count for the same, however many rows each of them has.
    largest = rows[kinds[-1]].sum()
    scale = {
      kind: largest / jnp.maximum(rows[kind].sum(), 1.0) / len(kinds)
      for kind in kinds
    }
    return {METRICS[kind]: found[kind][0] for kind in kinds} | {
      "align": sum(scale[kind] * found[kind][0] for kind in kinds),
      "align_accuracy": sum(scale[kind] * found[kind][1] for kind in kinds),
    }, {}

  return Objective(
    corrupt,
    counts,
    totals,
    {"align": weight},
    whole_batch=f"loss.align={weight}",
  )


def init_params(
  key, options: Align, *, dims: int, std: float
) -> dict[str, Any]:
  """What `make_loss` reads of params beside the network's own.

  Args:
    dims: width of the embedding.
    std: of the truncated normal that kernels start from.
  """
  made = {"align_scale": jnp.float32(-math.log(options.temperature))}
  if width := options.projection:
    normal = nn.initializers.truncated_normal(std)
    first_key, second_key = jax.random.split(key)
    made["align_head"] = {
      "first": {
        "kernel": normal(first_key, (dims, width)),
        "bias": jnp.zeros(width),
      },
      "second": {
        "kernel": normal(second_key, (width, width)),
        "bias": jnp.zeros(width),
      },
    }
  return made


def _mean_nll(vectors, log_scale, batch: Batch, rows_B):
  """(nll, hits) summed over the rows, a mean over the pairs of views."""
  pairs = [
    contrastive.similar_nll(
      vectors[i],
      vectors[j],
      log_scale,
      same_item_mask_BB=contrastive.same_item_mask(batch),
      valid_B=rows_B > 0,
    )
    for j in range(len(vectors))
    for i in range(j)
  ]
  return (
    sum(pair.nll for pair in pairs) / len(pairs),
    sum(pair.forward + pair.backward for pair in pairs) / (2 * len(pairs)),
  )


def _project(params, g_BD):
  """The head of `init_params`, where there is one; float32."""
  g_BD = g_BD.astype(jnp.float32)
  if "align_head" not in params:
    return g_BD
  first, second = (params["align_head"][name] for name in ("first", "second"))
  h_BD = nn.gelu(g_BD @ first["kernel"] + first["bias"], approximate=False)
  return h_BD @ second["kernel"] + second["bias"]


def _rows(batch: Batch) -> dict:
  """{kind: float32 [B], 1 where the row takes part}."""
  image_B, title_B = batch.has_image_B, batch.has_title_B
  either_B, both_B = jnp.logical_or(image_B, title_B), image_B & title_B
  return {
    CROSS_MODAL: both_B.astype(jnp.float32),
    AUGMENTED: either_B.astype(jnp.float32),
  }
