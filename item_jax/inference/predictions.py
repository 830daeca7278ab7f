"""Holds predicted categories, as results that show and write themselves."""

import csv
import functools
import html
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from item_jax.data.unreadable import listed
from item_jax.evaluation import labels
from item_jax.evaluation.results import Result, with_interval
from item_jax.files import whole_file


@dataclass(frozen=True, eq=False, repr=False)
class SplitPredictions(Result):
  """The predicted categories of a split's N listings that can be read.

  ids, products: of the listings. true: their categories, "" where one has none.
  predicted: the likeliest categories of each, best first. probability_NK:
  theirs. scored: of the listings with a known category; None where there is
  none. unreadable: ids of the listings that are left out. step: of the
  checkpoint. bootstrap: resamples for the intervals.
  """

  ids: list[str]
  products: list[str]
  true: list[str]
  predicted: list[list[str]]
  probability_NK: np.ndarray
  scored: labels.Predictions | None
  unreadable: list[str]
  step: int
  bootstrap: int = 1000

  @functools.cached_property
  def summary(self) -> dict[str, Any] | None:
    """The scores, with intervals by bootstrap over products; None without."""
    if self.scored is None:
      return None
    interval = labels.intervals(
      self.scored, self.products, resamples=self.bootstrap
    )
    return {**labels.summary(self.scored), "interval": interval}

  def to_dict(self) -> dict[str, Any]:
    """Returns `summary`, {} where there is none."""
    return self.summary or {}

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each listing, as `write_csv` writes it."""
    columns, lines = self._columns(), []
    for listing, true, (first, *others), (probability, *less) in zip(
      self.ids,
      self.true,
      self.predicted,
      self.probability_NK.tolist(),
      strict=True,
    ):
      line = [listing, true, first, _leaf(first), probability]
      for pair in zip(others, less, strict=True):
        line += pair
      lines.append(dict(zip(columns, line, strict=True)))
    return lines

  def _columns(self) -> list[str]:
    columns = ["id", "true", "predicted", "leaf", "probability"]
    for rank in range(2, self.probability_NK.shape[1] + 1):
      columns += [f"top_{rank}", f"probability_{rank}"]
    return columns

  def write_csv(self, path: str | os.PathLike) -> None:
    """Writes a line a listing, all of them or nothing."""
    with whole_file(path, text=True) as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(self._columns())
      for line in self.rows():
        writer.writerow(
          f"{value:.6f}" if isinstance(value, float) else value
          for value in line.values()
        )

  def __str__(self) -> str:
    lines = []
    if self.unreadable:
      lines.append(
        f"{len(self.unreadable):,} that cannot be read are left out:"
        f" {listed(self.unreadable)}"
      )
    scores = self.summary
    if scores is None:
      lines.append(
        "no listing has a category that the model knows: nothing to score"
      )
      return "\n".join(lines)
    lines.append(
      f"{scores['rows']:,} scored, {scores['without_category']:,} without a"
      f" category and {scores['unknown_category']:,} of one that training lacks"
      f" left out; {scores['classes_with_support']:,} of {scores['classes']:,}"
      " categories have scored listings"
    )
    lines += [
      f"{shown:9} {with_interval(scores[name], scores['interval'][name])}"
      for name, shown in labels.SHOWN.items()
    ]
    return "\n".join(lines)

  def _repr_html_(self) -> str:
    return f"<pre>{html.escape(str(self))}</pre>"  # not a line a listing


@dataclass(frozen=True, eq=False, repr=False)
class ListingPredictions(Result):
  """The likeliest categories of single listings.

  names: what each listing is, for people. categories: the likeliest of each,
  best first. probability_NK: theirs.
  """

  names: list[str]
  categories: list[list[str]]
  probability_NK: np.ndarray

  def to_dict(self) -> dict[str, Any]:
    return {
      "names": self.names,
      "categories": self.categories,
      "probabilities": self.probability_NK.tolist(),
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each listing and category."""
    return [
      {"listing": name, "category": category, "probability": probability}
      for name, line, probabilities in zip(
        self.names, self.categories, self.probability_NK.tolist(), strict=True
      )
      for category, probability in zip(line, probabilities, strict=True)
    ]

  def __str__(self) -> str:
    lines = []
    for name, categories, probabilities in zip(
      self.names, self.categories, self.probability_NK, strict=True
    ):
      lines.append(name)
      lines += [
        f"  {probability:7.2%}  {_leaf(path)}  ({path})"
        for path, probability in zip(categories, probabilities, strict=True)
      ]
    return "\n".join(lines)


def _leaf(path: str) -> str:
  """A category's own name, without those above it."""
  return path.rsplit(" > ", 1)[-1]
