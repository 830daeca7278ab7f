"""Defines what a training batch holds, and the letters that name its axes.

Axes, as they end the names of arrays of rank two and more (and of batches of
scalars): B pairs, H image height, W image width, C colour channels, N patches,
P pixels of a patch (patch * patch * 3), T title positions, S whole sequence
(1 + N + T), D width, V tokens of the vocabulary, K masked positions, Q
queries.
"""

from typing import Any, NamedTuple

# Either a numpy array (on the host) or a jax array (on the device): this
# module is read by both sides and imports neither.
Array = Any


class Batch(NamedTuple):
  """B pairs of image and title, as the input pipeline makes them.

  A title is its tokens, then [SEP], then padding. Hashes stand for identity:
  two rows with the same hash are treated as the same product (or the same
  title) when negative pairs are drawn, and a rare collision only means that
  one candidate is passed over.
  """

  # uint8; of a run that reads a stem's features from a file, those: float16,
  # H x W their grid, C their channels.
  image_BHWC: Array
  tokens_BT: Array  # int32
  has_image_B: Array  # bool
  has_title_B: Array  # bool
  product_B: Array  # uint32, hash of the product id
  title_B: Array  # uint32, hash of the token ids
  category_B: Array  # uint32, hash of the leaf category's path; 0: none
  bad_B: Array  # bool, this row's record could not be read

  @property
  def has_pixels(self) -> bool:
    """Whether images are pixels, and not features of a stem."""
    return self.image_BHWC.dtype == "uint8"

  @property
  def complete_rows(self) -> Array:
    """bool [B], rows with image and title; a lost record has neither."""
    return self.has_image_B & self.has_title_B
