"""Holds the options of the alignment loss."""

import dataclasses

from item_jax.config_group import Group, finite, fraction, option


@dataclasses.dataclass
class Align(Group):
  """Draws two views of a listing together, against the rest of the batch."""

  # "cross_modal": the listing without its title against it without its image,
  # at the cost of one more pass; "augmented": two views that differ in crop,
  # light, tokens and modalities, two more passes; "both": the mean of the two.
  views: str = option(
    "cross_modal", choices=("cross_modal", "augmented", "both")
  )
  # Beside "cross_modal", each modality is also drawn to the listing with both.
  fused: bool = False
  # The rest is of "augmented", but for temperature and projection.
  # Of the two augmented views; 1 leaves the other as it is.
  changed: int = option(2, choices=(1, 2))
  crop: float = fraction(0.5, above=0)  # smallest part of the area; 1: all
  light: float = fraction(0.2, below=1)  # most that brightness, contrast change
  token_drop: float = fraction(
    0.4, below=1
  )  # of the tokens; at least one stays
  modality_drop: float = fraction(0.25)  # of complete listings, that lose one
  # At the start; learnt, as in CLIP, and stopped at 0.01.
  temperature: float = finite(0.07, at_least=0.01)
  # Width of a two-layer head between [CLS] and the loss; 0: none, so that
  # what is drawn together is the embedding itself.
  projection: int = option(0, at_least=0)
