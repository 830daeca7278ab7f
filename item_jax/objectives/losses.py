"""Sums the losses of predictions over masked positions.

Every function returns a total, not a mean: the denominator is a count over
the global batch, and the training step divides.
"""

import jax
import jax.numpy as jnp

# paper: not stated; ours. Pixels are in [-1, 1], so two grey levels of noise
# have a variance of about (2 / 127.5)^2 = 2.5e-4: below that a patch is flat.
VARIANCE_FLOOR = 2.5e-4


def token_nll(logits_BKV, targets_BK, weights_BK):
  """Sum of -log softmax(logits)[target] where weighted (method: MLM, GMLM)."""
  log_p_BKV = jax.nn.log_softmax(logits_BKV.astype(jnp.float32), axis=-1)
  picked_BK = jnp.take_along_axis(
    log_p_BKV, targets_BK[..., None], axis=-1
  ).squeeze(-1)
  # where, not a product: 0 * inf at a position that does not count is nan.
  return -jnp.where(weights_BK > 0, picked_BK * weights_BK, 0.0).sum()


def token_hits(logits_BKV, targets_BK, weights_BK):
  """Sum of the weights where no other logit reaches the target's.

  A tie is a miss: logits that are all alike have learned nothing. Counting is
  a plain sum, which a CPU takes in a third of the time of `argmax`.
  """
  picked_BK1 = jnp.take_along_axis(logits_BKV, targets_BK[..., None], axis=-1)
  right_BK = (logits_BKV >= picked_BK1).sum(-1) == 1  # the target itself
  return (right_BK * weights_BK).sum()


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
