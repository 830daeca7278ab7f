"""Draws augmented views of listings, on the device.

Shapes and types stay. No flip and no change of colour: titles name sides,
colours and printed text.
"""

import math

import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.config import Align
from item_jax.config_products import Products
from item_jax.models.base import Vocabulary

WHITE = 255  # what images are padded with
_ASPECT = math.log(4 / 3)  # most that a crop is stretched either way


def augment(
  keys, batch: Batch, options: Align | Products, vocabulary: Vocabulary
) -> Batch:
  """Crops, lightens and drops tokens and modalities of a batch.

  Args:
    keys: four: of the crop, of light, of tokens and of modalities.
  """
  crop_key, light_key, token_key, modality_key = keys
  image_BHWC = crop(crop_key, batch.image_BHWC, min_area=options.crop)
  tokens_BT = drop_tokens(
    token_key,
    batch.tokens_BT,
    rate=options.token_drop,
    special_ids=vocabulary.special,
    pad=vocabulary.pad,
  )
  seen = drop_modalities(modality_key, batch, rate=options.modality_drop)
  return seen._replace(
    image_BHWC=light(light_key, image_BHWC, most=options.light),
    tokens_BT=tokens_BT,
  )


def crop(key, image_BHWC, *, min_area: float):
  """A random part of each image, resized to the whole.

  The part has between `min_area` and all of the area, and sides in a ratio
  between 3:4 and 4:3; where it reaches over the edge there is white. With
  `min_area` 1 images stay as they are.

  Args:
    image_BHWC: uint8; the same is returned. Features of a stem, of another
      type, stay as they are.
  """
  if min_area >= 1 or image_BHWC.dtype != jnp.uint8:
    return image_BHWC
  B = len(image_BHWC)
  keys = jax.random.split(key, 4)
  area_B = jax.random.uniform(keys[0], (B,), minval=min_area)
  aspect_B = jnp.exp(
    jax.random.uniform(keys[1], (B,), minval=-_ASPECT, maxval=_ASPECT)
  )
  tall_B = jnp.sqrt(area_B / aspect_B)
  wide_B = jnp.sqrt(area_B * aspect_B)
  # A part taller than the image has all of it inside, the rest is white.
  top_B = jax.random.uniform(keys[2], (B,)) * (1 - tall_B)
  left_B = jax.random.uniform(keys[3], (B,)) * (1 - wide_B)
  return cut(image_BHWC, top_B, left_B, tall_B, wide_B)


def cut(image_BHWC, top_B, left_B, tall_B, wide_B):
  """The named part of each image, bilinear, resized to the whole.

  Positions and sizes are fractions of height and width. Two products of
  matrices rather than a gather: 2 (H H W + H W W) C operations, which a
  matrix unit does faster than it could look pixels up one by one.
  """
  _, H, W, _ = image_BHWC.shape
  down_BHH, in_BH = _interpolation(top_B, tall_B, H)
  across_BWW, in_BW = _interpolation(left_B, wide_B, W)
  out_BHWC = jnp.einsum(
    "bij,bjwc->biwc", down_BHH, image_BHWC.astype(jnp.float32)
  )
  out_BHWC = jnp.einsum("bkw,biwc->bikc", across_BWW, out_BHWC)
  inside_BHW = in_BH[:, :, None] & in_BW[:, None, :]
  return _to_bytes(jnp.where(inside_BHW[..., None], out_BHWC, WHITE))


def _interpolation(start_B, size_B, length: int):
  """Weights [B,new,old] of the old lines in the new ones; which lie inside."""
  at_L = (jnp.arange(length) + 0.5) / length
  at_BL = (start_B[:, None] + at_L * size_B[:, None]) * length - 0.5
  inside_BL = (at_BL >= -0.5) & (at_BL <= length - 0.5)
  # The outer half of the first and of the last line is that line.
  held_BL = jnp.clip(at_BL, 0, length - 1)
  distance_BLL = jnp.abs(held_BL[:, :, None] - jnp.arange(length))
  return jnp.maximum(1 - distance_BLL, 0.0), inside_BL


def light(key, image_BHWC, *, most: float):
  """Each image's contrast and brightness times 1 - most to 1 + most.

  Contrast is about the image's own mean; all colours change alike. With
  `most` 0 images stay as they are.

  Args:
    image_BHWC: as of `crop`.
  """
  if most <= 0 or image_BHWC.dtype != jnp.uint8:
    return image_BHWC
  contrast, brightness = jax.random.uniform(
    key, (2, len(image_BHWC), 1, 1, 1), minval=1 - most, maxval=1 + most
  )
  x_BHWC = image_BHWC.astype(jnp.float32)
  mean = x_BHWC.mean((1, 2, 3), keepdims=True)
  return _to_bytes(((x_BHWC - mean) * contrast + mean) * brightness)


def drop_tokens(
  key, tokens_BT, *, rate: float, special_ids: tuple[int, ...], pad: int
):
  """Takes `rate` of each title's ordinary tokens out and closes the gaps.

  The others keep their order; one ordinary token stays, and so do the special
  ones, [SEP] among them.

  Args:
    tokens_BT: int32, padding last.
    special_ids: ids of the special tokens, `pad` among them.
  """
  tokens_BT = jnp.asarray(tokens_BT)
  ordinary_BT = ~jnp.isin(tokens_BT, jnp.array(special_ids))
  count_B = ordinary_BT.sum(-1)
  drop_B = jnp.minimum(jnp.round(count_B * rate), count_B - 1)
  score_BT = jnp.where(
    ordinary_BT, jax.random.uniform(key, tokens_BT.shape), 2.0
  )
  rank_BT = jnp.argsort(jnp.argsort(score_BT, axis=-1), axis=-1)
  kept_BT = (rank_BT >= drop_B[:, None]) & (tokens_BT != pad)
  order_BT = jnp.argsort(~kept_BT, axis=-1, stable=True)
  closed_BT = jnp.take_along_axis(tokens_BT, order_BT, axis=-1)
  left_BT = jnp.arange(tokens_BT.shape[1]) < kept_BT.sum(-1)[:, None]
  return jnp.where(left_BT, closed_BT, pad)


def drop_modalities(key, batch: Batch, *, rate: float) -> Batch:
  """Takes image or title, each as likely, from `rate` of complete rows."""
  complete_B = batch.complete_rows
  which_key, modality_key = jax.random.split(key)
  shape = complete_B.shape
  score_B = jnp.where(complete_B, jax.random.uniform(which_key, shape), 2.0)
  rank_B = jnp.argsort(jnp.argsort(score_B))
  chosen_B = complete_B & (rank_B < jnp.round(complete_B.sum() * rate))
  image_B = jax.random.bernoulli(modality_key, shape=shape)
  return batch._replace(
    has_image_B=batch.has_image_B & ~(chosen_B & image_B),
    has_title_B=batch.has_title_B & ~(chosen_B & ~image_B),
  )


def _to_bytes(x):
  return jnp.round(jnp.clip(x, 0, 255)).astype(jnp.uint8)
