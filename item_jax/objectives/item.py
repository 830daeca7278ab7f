"""ITEm's five losses on one masked pass (method: ITM, MLM, MIM, GMLM, GMIM)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Config, Loss, Mask
from item_jax.models import base, cost, memory, patches
from item_jax.models.base import Vocabulary
from item_jax.models.item import Item, Predictions
from item_jax.models.stem import Stem, read_places
from item_jax.objectives import chance, losses, masking, samples
from item_jax.objectives.base import Context, Objective
from item_jax.objectives.keys import key_for

_SAMPLE = 256  # images whose features a chance level is estimated from
TERMS = ("itm", "mlm", "mim", "gmlm", "gmim")


def make_objective(context: Context) -> Objective:
  """The five losses for a network with the methods of `models.item.Item`."""
  config, network, vocabulary, _ = context
  m, model = config.model, network.module

  def init_params(key) -> dict:
    position = jnp.zeros((1, 1), jnp.int32)
    made = model.init(key, base.example_batch(config), position, position)
    return dict(made["params"])

  def chance_levels(store, split, tokenizer) -> dict:
    return _chance_levels(config, model.patch, store, split, tokenizer)

  def chance_of_params(params, read) -> dict:
    level = _feature_chance(model.stem, params[base.STEM], read(_SAMPLE))
    return {"mim": level, "gmim": level}

  rows = base.padded_vocab_size(config, vocabulary)
  tokens = masking.max_masked_tokens(m.max_title_tokens, config.mask.title_rate)
  masked_patches = masking.num_masked_patches(
    model.num_patches, config.mask.patch_rate
  )
  flops = cost.item_head_flops(
    width=m.width,
    patch_pixels=model.target_values,
    masked_tokens=tokens,
    masked_patches=masked_patches,
    vocab_size=rows,
  )
  # A local and a global head each, of one and two transforms.
  heads = tuple(
    memory.Head(
      slots,
      decoders=2,
      out=out,
      transforms=3,
      width=m.width,
      itemsize=jnp.dtype(m.dtype).itemsize,
    )
    for slots, out in ((tokens, rows), (masked_patches, model.target_values))
  )
  return make_losses(model, config.mask, config.loss, vocabulary)._replace(
    init_params=init_params,
    chance_levels=chance_levels,
    chance_of_params=chance_of_params
    if config.loss.mim_target == "features"
    else None,
    train_flops=network.frozen_flops
    + train_flops(network.moved_flops, flops, config.loss),
    passes=network.passes,
    heads=heads,
    token_decoders=2,
  )


def make_beside(context: Context) -> Objective | None:
  """The five beside another objective; None where all their weights are 0."""
  if not any(getattr(context.config.loss, name) for name in TERMS):
    return None
  return make_objective(context)


def train_flops(
  encoder: float, heads: dict[str, float], weights: Loss
) -> float:
  """Forward and backward FLOPs of one pair.

  3 x forward: the backward pass computes gradients of inputs and of weights.
  Recomputation (remat) is not counted: it is cost, not work. A loss of weight
  0 is measured, and has no backward pass.

  Args:
    encoder: forward FLOPs. heads: those of each loss's head.
  """
  backward = [flops for name, flops in heads.items() if getattr(weights, name)]
  total = encoder + sum(heads.values())
  if backward:
    total += 2 * (encoder + sum(backward))
  return float(total)


class View(NamedTuple):
  """What one step shows the model, and what it must predict."""

  batch: Batch  # some titles those of other pairs, tokens masked
  masked_tokens: masking.MaskedTokens
  masked_patches: masking.MaskedPatches
  is_match_B: Any  # bool, the title belongs to the image
  complete_B: Any  # bool, both modalities are there: counts for ITM
  recover_B: Any  # bool, counts for the four mask losses


def make_losses(
  model: Item, mask: Mask, loss: Loss, vocabulary: Vocabulary
) -> Objective:
  """The five losses.

  A loss whose weight is 0 is measured all the same: its curve shows what the
  others give it.
  """

  def corrupt(root, step, batch: Batch) -> View:
    complete_B = batch.complete_rows
    batch, is_match_B = masking.draw_negatives(
      key_for(root, step, "swap/titles"), batch, rate=loss.negative_rate
    )
    masked_tokens = masking.mask_titles(root, step, batch, mask, vocabulary)
    masked_patches = masking.mask_patches(
      key_for(root, step, "mask/patches"),
      batch.has_image_B,
      num_patches=model.num_patches,
      rate=mask.patch_rate,
    )
    return View(
      batch=batch._replace(tokens_BT=masked_tokens.seen_BT),
      masked_tokens=masked_tokens,
      masked_patches=masked_patches,
      is_match_B=is_match_B,
      complete_B=complete_B,
      recover_B=is_match_B | loss.keep_negatives,
    )

  def counts(view: View) -> dict:
    tokens = _weights(view.masked_tokens.valid_BK, view).sum()
    masked_patches = _weights(view.masked_patches.valid_BK, view).sum()
    pairs = view.complete_B.astype(jnp.float32).sum()
    return {
      "itm": pairs,
      "mlm": tokens,
      "mim": masked_patches,
      "gmlm": tokens,
      "gmim": masked_patches,
      "itm_accuracy": pairs,
      "mlm_accuracy": tokens,
      "gmlm_accuracy": tokens,
    }

  def totals(params, view: View, key) -> tuple[dict, dict]:
    predictions, targets_BKP = predict(model, loss, params, view, key)
    return _measure(predictions, view, targets_BKP), {}

  weights = {name: getattr(loss, name) for name in TERMS}
  return Objective(corrupt, counts, totals, weights)


def predict(
  model: Item, loss: Loss, params, view: View, key=None
) -> tuple[Predictions, Any]:
  """Predicts what a view hides.

  Args:
    key: dropout's; None for no dropout.

  Returns:
    The predictions, and what MIM and GMIM should be: float32 [B,K,P].
  """
  states_BSD = model.apply(
    {"params": params},
    view.batch,
    view.masked_patches.masked_BN,
    deterministic=key is None,
    rngs={} if key is None else {"dropout": key},
    method="encode",
  )
  predictions: Any = model.apply(
    {"params": params},
    states_BSD,
    view.masked_tokens.positions_BK,
    view.masked_patches.positions_BK,
    method="predict",
  )
  return predictions, _targets(params, view, model, loss)


def _targets(params, view: View, model: Item, loss: Loss):
  """What MIM and GMIM recover of the masked patches, float32 [B,K,P]."""
  features = loss.mim_target == "features"
  if features:
    assert model.stem is not None  # `config_check` sees to it
    places_BNP = read_places(model.stem, params[base.STEM], view.batch)
  else:
    places_BNP = patches.to_patches(view.batch.image_BHWC, model.patch)
  targets_BKP = jnp.take_along_axis(
    places_BNP, view.masked_patches.positions_BK[..., None], axis=1
  )
  if not features:
    targets_BKP = patches.normalise(targets_BKP)
  if features or loss.normalise_patches:
    targets_BKP = losses.standardise_patches(targets_BKP)
  return targets_BKP


def _measure(predictions: Predictions, view: View, targets_BKP) -> dict:
  """Sums of the five losses and of three accuracies."""
  tokens_BK = view.masked_tokens.targets_BK
  on_tokens_BK = _weights(view.masked_tokens.valid_BK, view)
  on_patches_BK = _weights(view.masked_patches.valid_BK, view)
  on_pairs_B = view.complete_B.astype(jnp.float32)

  p = predictions
  right_B = jnp.argmax(p.itm_B2, axis=-1) == view.is_match_B
  mlm, mlm_hits = losses.token_scores(p.mlm_BKV, tokens_BK, on_tokens_BK)
  gmlm, gmlm_hits = losses.token_scores(p.gmlm_BKV, tokens_BK, on_tokens_BK)
  return {
    "itm": losses.match_nll(p.itm_B2, view.is_match_B, on_pairs_B),
    "mlm": mlm,
    "mim": losses.pixel_error(p.mim_BKP, targets_BKP, on_patches_BK),
    "gmlm": gmlm,
    "gmim": losses.pixel_error(p.gmim_BKP, targets_BKP, on_patches_BK),
    "itm_accuracy": (right_B * on_pairs_B).sum(),
    "mlm_accuracy": mlm_hits,
    "gmlm_accuracy": gmlm_hits,
  }


def _weights(valid_BK, view: View):
  """1 where a masked position counts: w M of the method."""
  return (valid_BK & view.recover_B[:, None]).astype(jnp.float32)


def _chance_levels(
  config: Config, patch: int, store, split: str, tokenizer
) -> dict:
  m = config.model
  seen = samples.listings(store, split, tokenizer, m.max_title_tokens)
  token = chance.token_chance(seen.tokens_NT, tokenizer.special)
  levels = {
    "itm": chance.match_chance(
      seen.rows,
      negative_rate=config.loss.negative_rate,
      batch_size=config.batch_size,
    ),
    "mlm": token,
    "gmlm": token,
  }
  if config.loss.mim_target == "features":
    return levels  # `chance_of_params` has the others
  targets = patches.to_patches(
    samples.images(store, split, m.image_size), patch
  )
  targets = np.asarray(patches.normalise(targets))
  if config.loss.normalise_patches:
    targets = np.asarray(losses.standardise_patches(targets))
  pixels = chance.pixel_chance(targets)
  return {name: levels.get(name, pixels) for name in TERMS}


def _feature_chance(stem: Stem, params, batches) -> float:
  """The chance level of a stem's features, standardised as targets are."""

  @jax.jit
  def read(params, batch):
    return losses.standardise_patches(read_places(stem, params, batch))

  found = []
  for batch in batches:
    places_BNC = np.asarray(read(params, batch))
    found.append(places_BNC[batch.has_image_B & ~batch.bad_B])
  return chance.pixel_chance(np.concatenate(found))
