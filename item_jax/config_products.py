"""Holds the options of the task "products"."""

import dataclasses

from item_jax.config_group import Group, finite, fraction


@dataclasses.dataclass
class Products(Group):
  """Draws listings of one product together, against the rest of the batch."""

  temperature: float = finite(0.07, at_least=0.01)
  # Of a batch, drawn from one leaf category at a time, so that its negatives
  # look alike.
  hard: float = fraction(0.5)
  # The most of a pass that may be listings without a partner, each in two
  # views; 1: all there are.
  singles: float = fraction(0.25)
  # What a view may lose of its listing; crop and light as of `Align`.
  crop: float = fraction(0.5, above=0)  # smallest part of the area; 1: all
  light: float = fraction(0.2, below=1)  # most that brightness, contrast change
  patch_drop: float = fraction(0.2, below=1)  # hidden patches
  token_drop: float = fraction(0.15, below=1)  # at least one stays
  modality_drop: float = fraction(0.3)  # of complete listings, that lose one
