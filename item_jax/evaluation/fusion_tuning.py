"""Chooses the weights and transforms of a fusion on validation."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation import trials as trials_lib
from item_jax.evaluation.agreement import (
  check_apart,
  check_one_system,
  check_same_rows,
  shared_roles,
)
from item_jax.evaluation.items import Items, has_pairs
from item_jax.evaluation.join import join
from item_jax.evaluation.sources import Source, open_source
from item_jax.evaluation.transform import Transform
from item_jax.evaluation.vectors import Mixed, lengths
from item_jax.evaluation.weighting import Weights, best_weights, grid
from item_jax.listing import as_list

logger = logging.getLogger(__name__)


def try_weights(
  parts: Sequence[np.ndarray | Mixed], items: Items
) -> dict[Weights, float]:
  """Measures MAP@10 of the same-product search for each weights of `grid`."""
  tried = {}
  for weights in grid(len(parts)):
    scored = retrieval.score_vectors(join(parts, weights), items)
    tried[weights] = scored.summary["map@10"]
  return tried


def open_parts(
  parts: Sequence[Any], *, data: Any = None, split: str = "test"
) -> list[Source]:
  """Opens vectors of the same rows; where a part lacks a row it becomes zero.

  Raises:
    UserError: they are not of the same rows, or don't say what is missing, or
      a row has no cosine; the title's export stands before the image's.
  """
  opened = [open_source(part, data=data, split=split) for part in parts]
  if [one.system.get("modality") for one in opened] == ["title", "image"] and (
    all(one.export for one in opened)
  ):
    raise UserError(
      f"{opened[0].name} is an export of the title only; expected the image's"
      " first"
    )
  first = opened[0]
  for other in opened[1:]:
    check_same_rows(first.name, first.items, other.name, other.items)
  roles = shared_roles((one.name, one.items) for one in opened)
  return [
    _without_missing(replace(one, items=one.items._replace(roles=roles)))
    for one in opened
  ]


def _without_missing(source: Source) -> Source:
  has_N = source.held()
  if not isinstance(source.vectors, Mixed):  # its search refuses its own
    ids = source.items.ids
    lengths(source.vectors, ids, source=source.name, has_N=has_N)
  if has_N.all():  # or it stays on disk
    return source
  vectors = source.vectors
  if isinstance(vectors, Mixed):
    dense_ND = np.where(has_N[:, None], vectors.dense_ND, 0)
    vectors = replace(vectors, dense_ND=dense_ND)
  else:
    vectors = np.where(has_N[:, None], vectors, 0)
  return replace(source, vectors=vectors)


def tune(
  opened: Sequence[Source],
  tune_on: Sequence[Any],
  fit_on: Sequence[Any] | None,
  data: Any,
) -> tuple[Weights, dict[Weights, float], list[Transform]]:
  """Chooses transforms, each by its part alone, and then weights."""
  _check_count(tune_on, opened, "--tune (tune_on=)")
  val = open_parts(tune_on, data=data, split="val")
  for part, of_val in zip(opened, val, strict=True):
    check_one_system(part, of_val)
  check_apart(opened[0], val[0])
  if not has_pairs(val[0].items.products):
    raise UserError(
      f"{val[0].name} has no product with two listings, so nothing can be"
      " chosen by it: give weights"
    )
  transforms = [Transform()] * len(opened)
  if fit_on:
    _check_count(fit_on, opened, "--fit (fit_on=)")
    transforms = [
      _choose_transform(part, of_val, what, data)
      for part, of_val, what in zip(opened, val, fit_on, strict=True)
    ]
  tried = try_weights(transformed(val, transforms), val[0].items)
  return best_weights(tried), tried, transforms


def _choose_transform(
  part: Source, val: Source, fit_on: Any, data: Any
) -> Transform:
  if isinstance(part.vectors, Mixed) or isinstance(val.vectors, Mixed):
    return Transform()
  (train,) = open_parts([fit_on], data=data, split="train")
  if isinstance(train.vectors, Mixed):
    raise UserError(f"{train.name} has a sparse part, {part.name} has none")
  check_one_system(part, train)
  check_apart(part, train)
  check_apart(val, train)
  trials = trials_lib.attempt(train.vectors, val.vectors, val.items)
  chosen = trials[trials_lib.best_of(trials)]
  found, plain = (t.scores.summary["map@10"] for t in (chosen, trials[0]))
  logger.info(
    f"{part.name}: {chosen.transform}, MAP@10 {found:.4f} on validation;"
    f" {plain:.4f} as it is"
  )
  return chosen.transform


def _check_count(
  given: Sequence[Any], opened: Sequence[Source], flag: str
) -> None:
  count = len(as_list(given, flag))
  if count != len(opened):
    raise UserError(
      f"{flag} names {count} parts; expected the {len(opened)} that are fused"
    )


def transformed(
  sources: Sequence[Source], transforms: Sequence[Transform]
) -> list[np.ndarray | Mixed]:
  """Returns the vectors of each part, changed as was chosen for it."""
  return [
    source.vectors
    if isinstance(source.vectors, Mixed) or made.kind == "none"
    else made.apply(source.vectors)
    for source, made in zip(sources, transforms, strict=True)
  ]
