"""Sums the losses of predictions over masked positions.

Every function returns a total, not a mean: the denominator is a count over
the global batch, and the training step divides.
"""

import jax
import jax.numpy as jnp

# paper: not stated; ours. Pixels are in [-1, 1], so two grey levels of noise
# have a variance of about (2 / 127.5)^2 = 2.5e-4: below that a patch is flat.
VARIANCE_FLOOR = 2.5e-4


def token_scores(logits_BKV, targets_BK, weights_BK):
  """Loss and hits of predicted tokens (method: MLM, GMLM).

  Returns:
    The sum of -log softmax(logits)[target] where weighted, and the sum of the
    weights where no other logit reaches the target's: a tie is a miss, since
    logits that are all alike have learned nothing.
  """
  nll_BK, is_hit_BK = _nll(jnp.asarray(logits_BKV, jnp.float32), targets_BK)
  # where, not a product: 0 * inf at a position that does not count is nan.
  nll = jnp.where(weights_BK > 0, nll_BK * weights_BK, 0.0).sum()
  return nll, (is_hit_BK * weights_BK).sum()


@jax.custom_vjp
def _nll(logits_BKV, targets_BK):
  """-log softmax(logits)[target], and whether the target's is the largest.

  Its gradient is a softmax less one at the target: derived, the one would be
  scattered into an array of zeros as large as the logits.
  """
  return _nll_forward(logits_BKV, targets_BK)[0]


def _nll_forward(logits_BKV, targets_BK):
  # One pass for the largest of the others gives the hits and the largest of
  # all: a TPU finds it while it makes the logits.
  others_BKV = jnp.where(_at(targets_BK, logits_BKV), -jnp.inf, logits_BKV)
  rival_BK1 = others_BKV.max(-1, keepdims=True)
  picked_BK1 = jnp.take_along_axis(logits_BKV, targets_BK[..., None], axis=-1)
  most_BK1 = jnp.maximum(rival_BK1, picked_BK1)
  exp_BKV = jnp.exp(logits_BKV - most_BK1)
  sum_BK1 = exp_BKV.sum(-1, keepdims=True)
  nll_BK1 = jnp.log(sum_BK1) + (most_BK1 - picked_BK1)
  is_hit_BK1 = (picked_BK1 > rival_BK1).astype(jnp.float32)
  kept = exp_BKV, sum_BK1, targets_BK
  return (nll_BK1.squeeze(-1), is_hit_BK1.squeeze(-1)), kept


def _nll_backward(kept, cotangents_BK):
  exp_BKV, sum_BK1, targets_BK = kept
  cotangent_BK1 = cotangents_BK[0][..., None]
  gradient_BKV = exp_BKV * (cotangent_BK1 / sum_BK1)
  is_target_BKV = _at(targets_BK, exp_BKV)
  return gradient_BKV - jnp.where(is_target_BKV, cotangent_BK1, 0.0), None


def _at(targets_BK, logits_BKV):
  return jnp.arange(logits_BKV.shape[-1]) == targets_BK[..., None]


_nll.defvjp(_nll_forward, _nll_backward)


def match_nll(logits_B2, is_match_B, weights_B):
  """Sum of -log softmax(logits)[is_match] over weighted pairs (ITM)."""
  log_p_B2 = jax.nn.log_softmax(logits_B2.astype(jnp.float32), axis=-1)
  picked_B = jnp.where(is_match_B, log_p_B2[:, 1], log_p_B2[:, 0])
  return -jnp.where(weights_B > 0, picked_B * weights_B, 0.0).sum()


def pixel_error(predicted_BKP, targets_BKP, weights_BK):
  """Sum over weighted patches of the mean squared pixel error (MIM, GMIM)."""
  squares_BKP = jnp.square(predicted_BKP.astype(jnp.float32) - targets_BKP)
  error_BK = squares_BKP.mean(-1)
  return jnp.where(weights_BK > 0, error_BK * weights_BK, 0.0).sum()


def standardise_patches(patches_BKP):
  """Each patch to mean 0 and variance 1, the variance floored.

  Without the floor one grey level of noise on a white background would
  become a target of full size.
  """
  mean_BK1, deviation_BK1 = patch_statistics(patches_BKP)
  return (patches_BKP - mean_BK1) / deviation_BK1


def patch_statistics(patches_BKP):
  """Mean and deviation, floored, of each patch, that it is standardised by."""
  mean_BK1 = patches_BKP.mean(-1, keepdims=True)
  variance_BK1 = patches_BKP.var(-1, keepdims=True)
  return mean_BK1, jnp.sqrt(jnp.maximum(variance_BK1, VARIANCE_FLOOR))
