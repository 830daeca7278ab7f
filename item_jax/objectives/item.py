"""ITEm's five objectives on one masked pass: a Batch and a key in, a total
and a count of each loss out (method: ITM, MLM, MIM, GMLM, GMIM)."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.models import patches
from item_jax.objectives import losses, masking
from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for

TERMS = ("itm", "mlm", "mim", "gmlm", "gmim")


class View(NamedTuple):
  """What one step shows the model and asks of it."""

  batch: Batch  # titles swapped, words hidden
  words: masking.MaskedTokens
  patches: masking.MaskedPatches
  is_match_B: Any  # bool, the title belongs to the photo
  complete_B: Any  # bool, both sides are there: counts for ITM
  recover_B: Any  # bool, counts for the four mask losses
  extra: Any = None  # the view of another objective beside the five


def make_objective(
  model,
  *,
  weights: dict[str, float],
  vocabulary: int,
  special: tuple[int, ...],
  mask_id: int,
  title_rate: float,
  patch_rate: float,
  mask_fraction: float,
  random_fraction: float,
  negative_rate: float,
  keep_negatives: bool,
  normalise_patches: bool,
  extra: Objective | None = None,
) -> Objective:
  """The five for a `models.item.Item`; options as in `config`.

  A term whose weight is 0 is measured all the same: its curve tells what the
  others give it.

  Args:
    extra: another objective of the same params, such as `align`'s: it sees
      the batch as it came, and joins by its own weights. If they are all 0,
      none of its work is done. It carries nothing.
  """
  if set(weights) != set(TERMS):
    raise ValueError(f"computed {sorted(TERMS)} but weighted {sorted(weights)}")
  if extra is not None and not any(extra.weights.values()):
    extra = None

  def corrupt(root, step, batch: Batch) -> View:
    beside = extra.corrupt(root, step, batch) if extra else None
    complete_B = batch.has_image_B & batch.has_title_B
    batch, is_match_B = masking.draw_negatives(
      key_for(root, step, "swap/titles"), batch, rate=negative_rate
    )
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
    hidden = masking.mask_patches(
      key_for(root, step, "mask/patches"),
      batch.has_image_B,
      num_patches=model.num_patches,
      rate=patch_rate,
    )
    return View(
      batch=batch._replace(tokens_BT=words.seen_BT),
      words=words,
      patches=hidden,
      is_match_B=is_match_B,
      complete_B=complete_B,
      recover_B=is_match_B | keep_negatives,
      extra=beside,
    )

  def counts(view: View) -> dict:
    words = _weights(view.words.valid_BK, view).sum()
    hidden = _weights(view.patches.valid_BK, view).sum()
    pairs = view.complete_B.astype(jnp.float32).sum()
    return {
      "itm": pairs,
      "mlm": words,
      "mim": hidden,
      "gmlm": words,
      "gmim": hidden,
      "itm_accuracy": pairs,
      "mlm_accuracy": words,
      "gmlm_accuracy": words,
      **(extra.counts(view.extra) if extra else {}),
    }

  def totals(params, view: View, key) -> tuple[dict, dict]:
    states_BSD = model.apply(
      {"params": params},
      view.batch,
      view.patches.masked_BN,
      deterministic=False,
      rngs={"dropout": key},
      method="encode",
    )
    said = model.apply(
      {"params": params},
      states_BSD,
      view.words.positions_BK,
      view.patches.positions_BK,
      method="predict",
    )
    beside = extra.totals(params, view.extra, key)[0] if extra else {}
    return measure(said, view) | beside, {}

  def measure(said, view: View) -> dict:
    targets_BKP = jnp.take_along_axis(
      patches.to_patches(view.batch.image_BHWC, model.patch),
      view.patches.positions_BK[..., None],
      axis=1,
    )
    targets_BKP = patches.normalise(targets_BKP)
    if normalise_patches:
      targets_BKP = losses.standardise_patches(targets_BKP)
    token_weights_BK = _weights(view.words.valid_BK, view)
    patch_weights_BK = _weights(view.patches.valid_BK, view)
    pair_weights_B = view.complete_B.astype(jnp.float32)
    tokens_BK = view.words.targets_BK

    def hits(logits_BKV):
      right_BK = jnp.argmax(logits_BKV, axis=-1) == tokens_BK
      return (right_BK * token_weights_BK).sum()

    right_B = jnp.argmax(said.itm_B2, axis=-1) == view.is_match_B
    return {
      "itm": losses.match_nll(said.itm_B2, view.is_match_B, pair_weights_B),
      "mlm": losses.token_nll(said.mlm_BKV, tokens_BK, token_weights_BK),
      "mim": losses.pixel_error(said.mim_BKP, targets_BKP, patch_weights_BK),
      "gmlm": losses.token_nll(said.gmlm_BKV, tokens_BK, token_weights_BK),
      "gmim": losses.pixel_error(said.gmim_BKP, targets_BKP, patch_weights_BK),
      "itm_accuracy": (right_B * pair_weights_B).sum(),
      "mlm_accuracy": hits(said.mlm_BKV),
      "gmlm_accuracy": hits(said.gmlm_BKV),
    }

  weights = weights | (extra.weights if extra else {})
  return Objective(corrupt, counts, totals, weights)


def _weights(valid_BK, view: View):
  """1 where a masked place counts: w M of the method."""
  return (valid_BK & view.recover_B[:, None]).astype(jnp.float32)
