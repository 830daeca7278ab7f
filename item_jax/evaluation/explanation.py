"""Holds what a trained model looks at and recovers, of a few listings."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from item_jax.evaluation.results import Shown


class Attention(NamedTuple):
  """Attention weights of [CLS], mean of heads: together 1.

  cls: to itself. patches_N: float32, row by row. tokens_T: float32, of the
  tokens that the title has, [SEP] last.
  """

  cls: float
  patches_N: Any
  tokens_T: Any


class MaskedToken(NamedTuple):
  """A token that the model has to predict.

  position: in the title, from 0. token: what stood there. shown: what the
  model saw there. predictions: {"mlm", "gmlm": the likeliest tokens with
  their probabilities}, of those that were trained.
  """

  position: int
  token: str
  shown: str
  predictions: dict[str, list[tuple[str, float]]]


class Explained(NamedTuple):
  """A listing, row `row` of its split, as the model saw it.

  Images are uint8 [H,W,3]. tokens: of the title, [SEP] last. attention: {which
  layers: Attention}, of the listing as it is. pictures: {"masked", and of
  "mim", "gmim" those that were trained: the image with its masked patches as
  they were predicted}; {} where patches are recovered as features.
  """

  row: int
  id: str
  title: str
  tokens: list[str]
  image_HWC: Any
  attention: dict[str, Attention]
  pictures: dict[str, Any]
  masked_tokens: list[MaskedToken]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Shown):
  """What a model looks at and recovers; `Report.write_page` shows it.

  step: of the checkpoint. notes: what does not apply, and why.
  """

  split: str
  step: int
  listings: list[Explained] = field(default_factory=list)
  notes: list[str] = field(default_factory=list)

  def __str__(self) -> str:
    lines = [
      f"split {self.split}, step {self.step:,}: {len(self.listings)} listings"
    ]
    for one in self.listings:
      shares = [
        f"{layers} {found.tokens_T.sum():.0%}"
        for layers, found in one.attention.items()
      ]
      lines.append(f"{one.id}: {one.title}; to the title: {', '.join(shares)}")
    return "\n".join([*lines, *self.notes])

  def _repr_html_(self) -> str:
    from item_jax.evaluation.page.inside import to_html

    return to_html(self)
