"""Fuses vectors of several models, after training.

[sqrt(a) u; sqrt(1 - a) v] of unit vectors u and v, so that the cosine of two
listings is a cos(u, u') + (1 - a) cos(v, v'), where both have both; and so for
more than two.
paper: not stated how its image and title baselines were joined; ours, because
it adds no training, and averages scores instead of unrelated coordinates.
"""

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import fusion_folder
from item_jax.evaluation.fusion_folder import SIDES
from item_jax.evaluation.fusion_tuning import (
  Weights,
  open_parts,
  transformed,
  tune,
)
from item_jax.evaluation.items import Items
from item_jax.evaluation.join import join
from item_jax.evaluation.results import Result
from item_jax.evaluation.sources import Source
from item_jax.evaluation.transform import Transform
from item_jax.evaluation.vectors import Mixed
from item_jax.new_folder import new_folder

EVEN = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Fusion(Result):
  """Vectors of several models together, for instance of image and title.

  vectors: float32 [N, D], rows of unit length, or `Mixed` where a part is
  sparse. items: what the rows are. names: of the parts; ("image", "title") of
  two exports. weights: of each part, of a sum of one. tried: {weights: MAP@10
  on validation} where they were tuned. transforms: of each part. out: the
  folder that it was written to.
  """

  vectors: np.ndarray | Mixed
  items: Items
  names: Sequence[str]
  weights: Weights
  tried: dict[Weights, float] = field(default_factory=dict)
  transforms: Sequence[Transform] = ()
  out: Path | None = None

  @property
  def image_weight(self) -> float:
    """The first part's weight."""
    return self.weights[0]

  def as_source(self) -> Source:
    """Returns what everything that scores takes."""
    return Source(str(self.out or "fusion"), self.vectors, self.items)

  def to_dict(self) -> dict[str, Any]:
    """Returns all but the vectors and items."""
    result: dict[str, Any] = {
      "rows": len(self.vectors),
      "dims": self.vectors.shape[1],
      "image_weight": self.image_weight,
      "tried": {
        weights[0] if len(weights) == 2 else _spell(weights): score
        for weights, score in self.tried.items()
      },
      "out": None if self.out is None else str(self.out),
    }
    if tuple(self.names) != SIDES:
      result["parts"] = list(self.names)
      result["weights"] = list(self.weights)
      result["transforms"] = [str(one) for one in self.transforms]
    return result

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each weights that were tried, or for those taken."""

    def line(weights: Weights) -> dict[str, Any]:
      if tuple(self.names) == SIDES:
        return {"image_weight": weights[0]}
      return dict(zip(self.names, weights, strict=True))

    if not self.tried:
      return [line(self.weights)]
    return [
      {**line(weights), "map@10": score}
      for weights, score in self.tried.items()
    ]

  def __str__(self) -> str:
    sides = tuple(self.names) == SIDES
    named = "image weight" if sides else "weights"
    lines = []
    for weights, score in self.tried.items():
      shown = f"{weights[0]:.1f}" if sides else _spell(weights)
      lines.append(f"{named} {shown}: MAP@10 {score:.4f} on validation")
    if not sides:
      for name, weight, made in zip(
        self.names, self.weights, self.transforms, strict=True
      ):
        lines.append(f"{name}: weight {weight:g}, {made}")
    shown = f"{self.image_weight:g}" if sides else _spell(self.weights)
    lines.append(
      f"{self.out or 'fusion'}: {len(self.vectors)} rows of"
      f" {self.vectors.shape[1]}, {named} {shown}"
    )
    return "\n".join(lines)


def _spell(weights: Weights) -> str:
  return " ".join(f"{weight:g}" for weight in weights)


def fuse(
  *parts: Any,
  weights: Sequence[float] | None = None,
  image_weight: float = EVEN,
  tune_on: Sequence[Any] | None = None,
  fit_on: Sequence[Any] | None = None,
  like: str | os.PathLike | None = None,
  data: Any = None,
  split: str = "test",
  out: str | os.PathLike | None = None,
  overwrite: bool = False,
) -> Fusion:
  """Fuses vectors of the same rows.

  Args:
    parts: two or more of what `open_source` takes. Of two exports the image's
      comes first.
    weights: of each part, from 0, where nothing is tuned; only their proportion
      counts. image_weight: of the first of two parts; the second has the rest.
    tune_on: the same parts of validation: takes the weights of a grid of tenths
      with the best MAP@10 there.
    fit_on: the same parts of training, with `tune_on`: each dense part is
      centred or whitened with their statistics where its MAP@10 on validation
      gains by that (`trials.best_of`). Of a sparse part it is not looked at.
    like: a fusion's folder, of another split: its weights and transforms.
    data: the prepared catalogue of "tfidf" and "thumbnail". split: of it; those
      of `tune_on` are made of "val", those of `fit_on` of "train".
    out: folder to write as an export: embeddings.npy, items.csv and meta.json.
      A sparse part is in sparse.npz, and everything that scores reads both.
    overwrite: whether it may replace another fusion.

  Raises:
    UserError: vectors of different rows; validation or training of other
      models, or with a listing in common.
  """
  if len(parts) < 2:
    raise UserError(f"parts to fuse: {len(parts)}; expected two or more")
  if fit_on and not tune_on:
    raise UserError(
      "transforms are chosen on validation: --fit (fit_on=) needs --tune"
      " (tune_on=)"
    )
  _check_one_choice(weights, image_weight, tune_on, like, len(parts))
  with contextlib.ExitStack() as stack:
    folder = None
    if out is not None:  # refused now, not after the work
      folder = stack.enter_context(
        new_folder(
          out, overwrite=overwrite, replaceable=fusion_folder.is_fusion
        )
      )
    opened = open_parts(parts, data=data, split=split)
    tried: dict[Weights, float] = {}
    transforms: Sequence[Transform] = [Transform()] * len(parts)
    if like is not None:
      chosen, transforms = fusion_folder.read_choice(Path(like), opened)
    elif tune_on:
      chosen, tried, transforms = tune(opened, tune_on, fit_on, data)
    elif weights is None:
      chosen = _default_weights(len(parts), image_weight)
    else:
      chosen = _proportions(weights, len(parts))
    fused = join(transformed(opened, transforms), chosen)
    names = fusion_folder.name_parts(opened, transforms)
    if folder is not None:
      fusion_folder.write(folder, fused, opened, chosen, transforms)
  written = None if out is None else Path(out)
  return Fusion(
    fused, opened[0].items, names, chosen, tried, transforms, written
  )


def _check_one_choice(weights, image_weight, tune_on, like, parts: int) -> None:
  """Refuses what would be passed over in silence."""
  given = {
    "weights": weights is not None,
    "image_weight": image_weight != EVEN,
    "tune_on": bool(tune_on),
    "like": like is not None,
  }
  names = [name for name, is_given in given.items() if is_given]
  if len(names) > 1:
    raise UserError(
      f"{' and '.join(names)} are given; expected one of them to say which"
      " weights"
    )
  if given["image_weight"] and parts != 2:
    raise UserError(
      f"image_weight={image_weight} is of the first of two parts, and there are"
      f" {parts}: give weights"
    )


def _default_weights(parts: int, image_weight: float) -> Weights:
  if parts > 2:
    return (1 / parts,) * parts
  try:
    weight = float(image_weight)
  except (TypeError, ValueError):
    weight = math.nan
  if not 0 <= weight <= 1:
    raise UserError(f"the image's weight is {image_weight!r}; expected 0 to 1")
  return weight, 1 - weight


def _proportions(weights: Sequence[float], parts: int) -> Weights:
  try:
    given = [float(weight) for weight in weights]  # for JSON
  except (TypeError, ValueError):
    given = []
  total = sum(given)
  if len(given) != parts or not 0 < total < math.inf or min(given) < 0:
    raise UserError(
      f"weights are {weights!r}; expected {parts}, one of each part, none below"
      " 0 and not all 0"
    )
  return tuple(weight / total for weight in given)
