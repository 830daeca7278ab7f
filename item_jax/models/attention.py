"""Computes softmax attention in the form that XLA for CPUs has kernels for."""

import math

import jax
import jax.numpy as jnp

# As jax.nn's: no score comes near, and it is finite in every type.
_HIDDEN = -0.7 * float(jnp.finfo(jnp.float32).max)


def attend(query_BSHd, key_BSHd, value_BSHd, lengths_B, *, causal: bool):
  """`layers.attend` on CPUs: the values of `jax.nn.dot_product_attention`.

  It differs in what products are of, which XLA for CPUs takes as they are
  written: matrices of one head each, with no axis between their two.
  """
  query_BHSd, key_BHSd, value_BHSd = (
    x.transpose(0, 2, 1, 3) for x in (query_BSHd, key_BSHd, value_BSHd)
  )
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
  scores_BHST = jnp.where(seen, scores_BHST * (1 / math.sqrt(d)), _HIDDEN)
  weights_BHST = softmax(scores_BHST).astype(value_BHSd.dtype)
  mixed_BHSd = jnp.einsum("bhst,bhtd->bhsd", weights_BHST, value_BHSd)
  return mixed_BHSd.transpose(0, 2, 1, 3)


@jax.custom_vjp
def softmax(scores):
  """Softmax over the last axis; only what it gives is kept for the gradient."""
  return jax.nn.softmax(scores, axis=-1)


def _softmax_backward(weights, cotangent):
  common = (cotangent * weights).sum(-1, keepdims=True)
  return (weights * (cotangent - common),)


softmax.defvjp(lambda scores: (softmax(scores),) * 2, _softmax_backward)
