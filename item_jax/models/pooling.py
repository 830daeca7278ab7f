"""Makes one vector of the states of an image and a title, in several ways."""

import jax.numpy as jnp

from item_jax.models.layers import unit

# As a network was trained comes first, then the simplest.
POOLS = ("cls", "mean", "tokens", "patches", "concat")


def pool(states_BSD, real_BN, real_BT) -> dict:
  """States at [CLS], patches and title tokens -> {name of `POOLS`: vectors}.

  Args:
    states_BSD: in this order; arbitrary where nothing is.
    real_BN, real_BT: bool, whether a patch, or a token, is there.

  Returns:
    float32 [B,D], of any length: "cls"; the "mean" of all real positions, [CLS]
    and [SEP] among them; that of the title's "tokens", or of the "patches",
    and [CLS] instead where a row has none of them. And [B, 3 D], "concat":
    [CLS], mean patch and mean token side by side, each of unit length, zeros
    for what a row has none of, so that a cosine counts what two rows have.
  """
  states_BSD = states_BSD.astype(jnp.float32)
  N = real_BN.shape[1]
  cls_BD = states_BSD[:, 0]
  patches_BD, patches_B1 = _total(states_BSD[:, 1 : 1 + N], real_BN)
  tokens_BD, tokens_B1 = _total(states_BSD[:, 1 + N :], real_BT)
  parts = [unit(cls_BD), unit(patches_BD), unit(tokens_BD)]
  return {
    "cls": cls_BD,
    "mean": (cls_BD + patches_BD + tokens_BD) / (1 + patches_B1 + tokens_B1),
    "tokens": _mean(tokens_BD, tokens_B1, cls_BD),
    "patches": _mean(patches_BD, patches_B1, cls_BD),
    "concat": jnp.concatenate(parts, axis=-1),
  }


def _total(states_BLD, real_BL):
  """Sums of the real states, and how many they are, [B,D] and [B,1]."""
  total_BD = jnp.where(real_BL[..., None], states_BLD, 0.0).sum(1)
  return total_BD, real_BL.sum(1, keepdims=True).astype(jnp.float32)


def _mean(total_BD, count_B1, otherwise_BD):
  mean_BD = total_BD / jnp.maximum(count_B1, 1.0)
  return jnp.where(count_B1 > 0, mean_BD, otherwise_BD)
