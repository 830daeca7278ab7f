"""Samples the rows that chance-level losses are estimated from."""

import contextlib
from typing import NamedTuple

import numpy as np

from item_jax.config import Config
from item_jax.data.images import BadImage, load_square
from item_jax.data.records import Dataset
from item_jax.data.tokenizer import Tokenizer
from item_jax.data.unreadable import readable
from item_jax.objectives import chance

_TITLES = 20_000
_IMAGES = 1_024


def titles(
  store: Dataset, split: str, tokenizer: Tokenizer, max_title_tokens: int
) -> np.ndarray:
  """int32 [rows, max_title_tokens], evenly spread over the split."""
  return listings(store, split, tokenizer, max_title_tokens).tokens_NT


class Listings(NamedTuple):
  """rows: (product, title, whether there is an image); title None without."""

  tokens_NT: np.ndarray
  rows: list[tuple[str, bytes | None, bool]]


def listings(
  store: Dataset, split: str, tokenizer: Tokenizer, max_title_tokens: int
) -> Listings:
  """Titles and what tells rows apart, evenly spread over the split."""
  source = store.source(split)
  tokens, rows = [], []
  for record in readable(source, _spread(len(source), _TITLES)):
    tokens_T = tokenizer.encode(record.title, max_title_tokens)
    title = tokens_T.tobytes() if tokens_T[0] != tokenizer.pad else None
    tokens.append(tokens_T)
    rows.append((record.product_id, title, bool(record.image)))
  return Listings(np.stack(tokens), rows)


def rival_chance(
  config: Config,
  store: Dataset,
  split: str,
  tokenizer: Tokenizer,
  *,
  complete: bool,
) -> float:
  """`chance.rival_chance` of rows with both modalities, or else with any."""
  _, seen = listings(store, split, tokenizer, config.model.max_title_tokens)
  needed = all if complete else any
  rows = [
    (product, title)
    for product, title, has_image in seen
    if needed((has_image, title is not None))
  ]
  return chance.rival_chance(
    rows, fraction=len(rows) / len(seen), batch_size=config.batch_size
  )


def images(store: Dataset, split: str, size: int) -> np.ndarray:
  """uint8 [rows, size, size, 3], of rows that have an image."""
  source = store.source(split)
  found = [np.zeros((0, size, size, 3), np.uint8)]
  for record in readable(source, _spread(len(source), _IMAGES)):
    if record.image:
      with contextlib.suppress(BadImage):
        found.append(load_square(record.image, size)[None])
  return np.concatenate(found)


def _spread(size: int, most: int) -> np.ndarray:
  """At most `most` row numbers, evenly spread over the split."""
  return np.unique(np.linspace(0, size - 1, min(size, most)).astype(int))
