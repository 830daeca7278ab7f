"""Computes softmax attention in forms that XLA is quick at on CPUs and TPUs.

Both have the values of `jax.nn.dot_product_attention`; they differ from it in
what products are of and in what is kept for the gradient.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

# As jax.nn's: no score comes near, and it is finite in every type.
_HIDDEN = -0.7 * float(jnp.finfo(jnp.float32).max)


def attend(
  query_BSHd,
  key_BSHd,
  value_BSHd,
  lengths_B,
  *,
  causal: bool,
  own_gradient: bool = False,
):
  """`layers.attend` by products of matrices of one head each.

  No axis stands between the two of a matrix: XLA for CPUs takes products as
  they are written.

  Args:
    own_gradient: TPUs' form. No array of scores is float32: exponentials are
      kept for the gradient, in the type of the values.
  """
  query_BHSd, key_BHSd, value_BHSd = (
    x.transpose(0, 2, 1, 3) for x in (query_BSHd, key_BSHd, value_BSHd)
  )
  mix: Any = _mix_on_tpu if own_gradient else _mix
  mixed_BHSd = mix(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal)
  return mixed_BHSd.transpose(0, 2, 1, 3)


def _mix(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal: bool):
  weights_BHST = softmax(_scores(query_BHSd, key_BHSd, lengths_B, causal))
  weights_BHST = weights_BHST.astype(value_BHSd.dtype)
  return jnp.einsum("bhst,bhtd->bhsd", weights_BHST, value_BHSd)


def _scores(query_BHSd, key_BHTd, lengths_B, causal: bool):
  """Scaled, float32; of what is not to be seen _HIDDEN."""
  scores_BHST = jnp.einsum(
    "bhsd,bhtd->bhst",
    query_BHSd,
    key_BHTd,
    preferred_element_type=jnp.float32,
  )
  scaled_BHST = scores_BHST * (1 / math.sqrt(query_BHSd.shape[-1]))
  seen = _seen(scores_BHST.shape[-1], lengths_B, causal)
  return jnp.where(seen, scaled_BHST, _HIDDEN)


def _largest_scores(query_BHSd, key_BHTd, lengths_B, causal: bool):
  """`_scores(...).max(-1)`, by the transposed product.

  Of the same product twice the compiler would make one, and write it down.
  """
  scores_BHTS = jnp.einsum(
    "bhtd,bhsd->bhts",
    key_BHTd,
    query_BHSd,
    preferred_element_type=jnp.float32,
  )
  scaled_BHTS = scores_BHTS * (1 / math.sqrt(query_BHSd.shape[-1]))
  seen = _seen(scores_BHTS.shape[-1], lengths_B, causal).swapaxes(2, 3)
  return jnp.where(seen, scaled_BHTS, _HIDDEN).max(2)


def _seen(positions: int, lengths_B, causal: bool):
  """Which keys, the last axis, a query may see: [B,1,1 or S,T]."""
  seen = jnp.arange(positions) < lengths_B[:, None, None, None]
  return seen & jnp.tri(positions, dtype=bool) if causal else seen


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _mix_on_tpu(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal: bool):
  return _mix_forward(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal)[0]


def _mix_forward(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal: bool):
  """Mixes values by exponentials, and divides the result by their sums.

  Scores are computed twice, once for the largest alone: float32, they cost
  more to write and read than to compute.
  """
  asked = (query_BHSd, key_BHSd, lengths_B, causal)
  largest_BHS1 = _largest_scores(*asked)[..., None]
  exponentials_BHST = jnp.exp(_scores(*asked) - largest_BHS1)
  share_BHS1 = 1 / exponentials_BHST.sum(-1, keepdims=True)
  exponentials_BHST = exponentials_BHST.astype(value_BHSd.dtype)
  mixed_BHSd = jnp.einsum(
    "bhst,bhtd->bhsd",
    exponentials_BHST,
    value_BHSd,
    preferred_element_type=jnp.float32,
  )
  mixed_BHSd = mixed_BHSd * share_BHS1
  qkv = (query_BHSd, key_BHSd, value_BHSd)
  kept = (*qkv, exponentials_BHST, share_BHS1, mixed_BHSd)
  return mixed_BHSd.astype(value_BHSd.dtype), kept


def _mix_backward(causal: bool, kept, gradient_BHSd):
  *qkv, exponentials_BHST, share_BHS1, mixed_BHSd = kept
  query_BHSd, key_BHSd, value_BHSd = qkv
  dtype = query_BHSd.dtype
  # From here on with the sums that the exponentials lack.
  gradient_BHSd = (gradient_BHSd * share_BHS1).astype(dtype)
  # Sum over t of weight and gradient: a number of each query. Float32 on both
  # sides, as it is taken from numbers that may be nearly as large.
  common_BHS1 = jnp.vecdot(gradient_BHSd.astype(jnp.float32), mixed_BHSd)
  common_BHS1 = common_BHS1[..., None]
  of_weights_BHST = jnp.einsum(
    "bhsd,bhtd->bhst",
    gradient_BHSd,
    value_BHSd,
    preferred_element_type=jnp.float32,
  )
  scale = 1 / math.sqrt(query_BHSd.shape[-1])
  of_scores_BHST = exponentials_BHST * (of_weights_BHST - common_BHS1) * scale
  of_scores_BHST = of_scores_BHST.astype(dtype)
  return (
    jnp.einsum("bhst,bhtd->bhsd", of_scores_BHST, key_BHSd),
    jnp.einsum("bhst,bhsd->bhtd", of_scores_BHST, query_BHSd),
    jnp.einsum("bhst,bhsd->bhtd", exponentials_BHST, gradient_BHSd),
    None,
  )


_mix_on_tpu.defvjp(_mix_forward, _mix_backward)


@jax.custom_vjp
def softmax(scores):
  """Softmax over the last axis; only what it gives is kept for the gradient."""
  return jax.nn.softmax(scores, axis=-1)


def _softmax_backward(weights, cotangent):
  common = (cotangent * weights).sum(-1, keepdims=True)
  return (weights * (cotangent - common),)


softmax.defvjp(lambda scores: (softmax(scores),) * 2, _softmax_backward)
