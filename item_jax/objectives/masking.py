"""Masks tokens and patches, and draws pairs whose title does not belong."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.config import Mask
from item_jax.models.base import Vocabulary
from item_jax.objectives.keys import key_for


class MaskedTokens(NamedTuple):
  seen_BT: Any  # int32, the title with tokens replaced
  positions_BK: Any  # int32 in [0, T)
  targets_BK: Any  # int32, the tokens that stood there
  valid_BK: Any  # bool, which of the K count


class MaskedPatches(NamedTuple):
  masked_BN: Any  # bool
  positions_BK: Any  # int32 in [0, N)
  valid_BK: Any  # bool


def max_masked_tokens(max_title_tokens: int, rate: float) -> int:
  """K: the most tokens of a title that are masked ([SEP] takes a position)."""
  return max(1, round((max_title_tokens - 1) * rate))


def num_masked_patches(num_patches: int, rate: float) -> int:
  """K: how many patches of an image are masked."""
  return max(1, round(num_patches * rate))


def mask_titles(
  root, step, batch: Batch, mask: Mask, vocabulary: Vocabulary
) -> MaskedTokens:
  """`mask_tokens` of a batch at a step; of a missing title no token.

  One key for whoever masks tokens, so that objectives see the same masks.
  """
  masked = mask_tokens(
    key_for(root, step, "mask/words"), batch.tokens_BT, mask, vocabulary
  )
  return masked._replace(valid_BK=masked.valid_BK & batch.has_title_B[:, None])


def mask_tokens(
  key, tokens_BT, mask: Mask, vocabulary: Vocabulary
) -> MaskedTokens:
  """Masks `mask.title_rate` of each title's ordinary tokens, at least one.

  Of the masked tokens `mask.mask_fraction` become [MASK],
  `mask.random_fraction` another ordinary token drawn uniformly, the rest stay
  (BERT, 3.1). A title without an ordinary token has none masked.

  Args:
    key: a key of its own.
    tokens_BT: int32; special tokens are neither masked nor drawn.
  """
  tokens_BT = jnp.asarray(tokens_BT)
  B, T = tokens_BT.shape
  K = max_masked_tokens(T, mask.title_rate)
  ordinary_BT = ~jnp.isin(tokens_BT, jnp.array(vocabulary.special))
  count_B = ordinary_BT.sum(-1)
  wanted_B = jnp.clip(jnp.round(count_B * mask.title_rate), 1, K).astype(
    jnp.int32
  )
  wanted_B = jnp.minimum(wanted_B, count_B)

  order_key, fate_key, token_key = jax.random.split(key, 3)
  positions_BK = _first_by_score(order_key, ordinary_BT, K)
  valid_BK = jnp.arange(K) < wanted_B[:, None]
  targets_BK = jnp.take_along_axis(tokens_BT, positions_BK, axis=1)

  fate_BK = jax.random.uniform(fate_key, (B, K))
  random_BK = jax.random.randint(
    token_key, (B, K), 0, vocabulary.size - len(vocabulary.special)
  )
  for special_id in vocabulary.special:
    random_BK += random_BK >= special_id
  shown_BK = jnp.where(
    fate_BK < mask.mask_fraction,
    vocabulary.mask,
    jnp.where(
      fate_BK < mask.mask_fraction + mask.random_fraction,
      random_BK,
      targets_BK,
    ),
  )
  shown_BK = jnp.where(valid_BK, shown_BK, targets_BK)
  rows_B1 = jnp.arange(B)[:, None]
  seen_BT = tokens_BT.at[rows_B1, positions_BK].set(shown_BK)
  return MaskedTokens(seen_BT, positions_BK, targets_BK, valid_BK)


def mask_patches(
  key, has_image_B, *, num_patches: int, rate: float
) -> MaskedPatches:
  """Masks round(rate * N) patches of each image, at least one; uniform.

  Where an image is a single patch, it masks that of `rate` of the images: a
  model would else never see one.
  """
  B = has_image_B.shape[0]
  if num_patches == 1:
    has_image_B = has_image_B & (jax.random.uniform(key, (B,)) < rate)
  K = num_masked_patches(num_patches, rate)
  candidates_BN = jnp.broadcast_to(has_image_B[:, None], (B, num_patches))
  positions_BK = _first_by_score(key, candidates_BN, K)
  valid_BK = jnp.broadcast_to(has_image_B[:, None], (B, K))
  rows_B1 = jnp.arange(B)[:, None]
  masked_BN = jnp.zeros((B, num_patches), bool)
  masked_BN = masked_BN.at[rows_B1, positions_BK].set(valid_BK)
  return MaskedPatches(masked_BN, positions_BK, valid_BK)


def draw_negatives(key, batch: Batch, *, rate: float) -> tuple[Batch, Any]:
  """Gives `rate` of the complete pairs the title of another pair.

  The donor is drawn uniformly from the pairs of the batch with a title, of
  another product and with another title, which is what redrawing until both
  differ comes to. A pair for which there is no donor keeps its title.

  Returns:
    The batch, and is_match_B: bool, False where the title is another
    pair's. Product hashes are still the image's.
  """
  batch = Batch(*(jnp.asarray(x) for x in batch))
  B = batch.tokens_BT.shape[0]
  complete_B = batch.complete_rows
  which_key, donor_key = jax.random.split(key)
  score_B = jnp.where(complete_B, jax.random.uniform(which_key, (B,)), 2.0)
  rank_B = jnp.argsort(jnp.argsort(score_B))
  chosen_B = rank_B < jnp.round(complete_B.sum() * rate)

  allowed_BB = (
    batch.has_title_B[None, :]
    & (batch.product_B[:, None] != batch.product_B[None, :])
    & (batch.title_B[:, None] != batch.title_B[None, :])
  )
  lot_BB = jnp.where(allowed_BB, jax.random.uniform(donor_key, (B, B)), -1.0)
  donor_B = jnp.argmax(lot_BB, axis=-1)
  negative_B = chosen_B & complete_B & allowed_BB.any(-1)
  tokens_BT = jnp.where(
    negative_B[:, None], batch.tokens_BT[donor_B], batch.tokens_BT
  )
  title_B = jnp.where(negative_B, batch.title_B[donor_B], batch.title_B)
  return batch._replace(tokens_BT=tokens_BT, title_B=title_B), ~negative_B


def _first_by_score(key, candidates_BL, K: int):
  """K distinct positions a row in random order, candidates before others."""
  score_BL = jax.random.uniform(key, candidates_BL.shape)
  _, positions_BK = jax.lax.top_k(jnp.where(candidates_BL, score_BL, -1.0), K)
  return positions_BK
