"""Rows that the floors are estimated from: a Store in, words and photos out."""

import numpy as np

from item_jax.data import pipeline
from item_jax.data.records import Store
from item_jax.data.tokenizer import Words

_TITLES = 20_000
_PHOTOS = 1_024


def titles(store: Store, split: str, words: Words, places: int) -> np.ndarray:
  """int32 [rows, places], evenly spread over the split."""
  source = store.source(split)
  return np.stack(
    [
      words.encode(source[i].title, places)
      for i in _spread(len(source), _TITLES)
    ]
  )


def photos(store: Store, split: str, words: Words, size: int) -> np.ndarray:
  """uint8 [rows, size, size, 3], of rows that have a photo."""
  source = store.source(split)
  images = [np.zeros((0, size, size, 3), np.uint8)]
  for i in _spread(len(source), _PHOTOS):
    row = pipeline.make_row(
      source[i], words=words, image_size=size, title_places=3
    )
    if row.has_image_B:
      images.append(row.image_BHWC[None])
  return np.concatenate(images)


def _spread(size: int, most: int) -> np.ndarray:
  """At most `most` row numbers, evenly spread over the split."""
  return np.unique(np.linspace(0, size - 1, min(size, most)).astype(int))
