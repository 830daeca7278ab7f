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
    own_gradient: TPUs' form. Weights are kept for the gradient in the type of
      the values, and no scores, which are float32.
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


def _scores(query_BHSd, key_BHSd, lengths_B, causal: bool):
  """Scaled, float32; of what is not to be seen _HIDDEN."""
  S, d = query_BHSd.shape[2:]
  scores_BHST = jnp.einsum(
    "bhsd,bhtd->bhst",
    query_BHSd,
    key_BHSd,
    preferred_element_type=jnp.float32,
  )
  seen = jnp.arange(S) < lengths_B[:, None, None, None]
  if causal:
    seen &= jnp.tri(S, dtype=bool)
  return jnp.where(seen, scores_BHST * (1 / math.sqrt(d)), _HIDDEN)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _mix_on_tpu(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal: bool):
  return _mix_forward(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal)[0]


def _mix_forward(query_BHSd, key_BHSd, value_BHSd, lengths_B, causal: bool):
  scores_BHST = _scores(query_BHSd, key_BHSd, lengths_B, causal)
  weights_BHST = jax.nn.softmax(scores_BHST, axis=-1).astype(value_BHSd.dtype)
  mixed_BHSd = jnp.einsum("bhst,bhtd->bhsd", weights_BHST, value_BHSd)
  kept = (query_BHSd, key_BHSd, value_BHSd, weights_BHST, mixed_BHSd)
  return mixed_BHSd, kept


def _mix_backward(causal: bool, kept, gradient_BHSd):
  query_BHSd, key_BHSd, value_BHSd, weights_BHST, mixed_BHSd = kept
  of_weights_BHST = jnp.einsum(
    "bhsd,bhtd->bhst",
    gradient_BHSd,
    value_BHSd,
    preferred_element_type=jnp.float32,
  )
  # Sum over t of weight and gradient: a number of each query.
  common_BHS1 = jnp.vecdot(
    gradient_BHSd.astype(jnp.float32), mixed_BHSd.astype(jnp.float32)
  )[..., None]
  scale = 1 / math.sqrt(query_BHSd.shape[-1])
  of_scores_BHST = weights_BHST * ((of_weights_BHST - common_BHS1) * scale)
  of_scores_BHST = of_scores_BHST.astype(query_BHSd.dtype)
  return (
    jnp.einsum("bhst,bhtd->bhsd", of_scores_BHST, key_BHSd),
    jnp.einsum("bhst,bhsd->bhtd", of_scores_BHST, query_BHSd),
    jnp.einsum("bhst,bhsd->bhtd", weights_BHST, gradient_BHSd),
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
