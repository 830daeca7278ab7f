"""Shows what each of several runs finds in each of several catalogues."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from item_jax.evaluation.changed import MEASURES
from item_jax.evaluation.results import Tables, with_interval
from item_jax.evaluation.retrieval import Scores

if TYPE_CHECKING:
  from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class CrossDomain(Tables):
  """The scores of several systems on several catalogues.

  scores: {system: {catalogue: Scores}}; the baselines "tfidf" and "thumbnail"
  last. A catalogue in which all listings are one vector to a system is not
  there: only ids would rank them. split: of each catalogue.
  """

  scores: dict[str, dict[str, Scores]]
  split: str

  def to_dict(self) -> dict[str, Any]:
    """Returns {system: {catalogue: `Scores.summary`}}."""
    return {
      system: {name: one.summary for name, one in found.items()}
      for system, found in self.scores.items()
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each system, catalogue and figure."""
    lines = []
    for system, found in self.scores.items():
      for catalogue, one in found.items():
        for name in MEASURES:
          low, high = one.summary["interval"].get(name, (None, None))
          value = {"value": one.summary[name], "low": low, "high": high}
          of = {"system": system, "catalogue": catalogue, "figure": name}
          lines.append(of | value)
    return lines

  def sentence(self) -> str:
    held = {
      name: one.summary
      for found in self.scores.values()
      for name, one in found.items()
    }
    counts = ", ".join(
      f"{name} {held[name]['queries']:,} among {held[name]['index']:,}"
      for name in _catalogues(self.scores)
    )
    text = (
      f"queries of the split {self.split}: {counts}; in brackets the 95 %"
      " interval"
    )
    left_out = [
      f"{system} in {name}"
      for name in _catalogues(self.scores)
      for system, found in self.scores.items()
      if name not in found
    ]
    if left_out:
      text += f"; left out, for only ids would rank: {', '.join(left_out)}"
    return text

  def tables(self) -> list[tuple[str, list[dict[str, str]]]]:
    return matrices(self.to_dict())


def matrices(
  found: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[dict[str, str]]]]:
  """Lays out what `CrossDomain.to_dict` gives: (title, lines) of each."""
  return [
    (
      f"{name} of each run (lines) in each catalogue (columns)",
      [
        {"run": system}
        | {
          catalogue: with_interval(
            each[catalogue][name], each[catalogue]["interval"].get(name)
          )
          if catalogue in each
          else ""
          for catalogue in _catalogues(found)
        }
        for system, each in found.items()
      ],
    )
    for name in MEASURES
  ]


def _catalogues(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """All of them, in the order of the system that has most."""
  each = sorted(found.values(), key=len, reverse=True)
  return list(dict.fromkeys(name for one in each for name in one))


def draw_matrix(found: Mapping[str, Mapping[str, Any]]) -> "Figure":
  """Draws recall@10 of each system (lines) in each catalogue (columns)."""
  from matplotlib.figure import Figure  # takes a second

  systems, catalogues = list(found), _catalogues(found)
  value_SC = [
    [
      found[s][c][MEASURES[0]] if c in found[s] else math.nan
      for c in catalogues
    ]
    for s in systems
  ]
  size = (3 + 1.1 * len(catalogues), 1.2 + 0.4 * len(systems))
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.add_subplot()
  axes.imshow(value_SC, cmap="Blues", vmin=0, vmax=1, aspect="auto")
  plain = {"parse_math": False, "fontsize": 8}  # a name may hold dollar signs
  axes.set_yticks(range(len(systems)), systems, **plain)
  axes.set_xticks(range(len(catalogues)), catalogues, **plain)
  for line, values in enumerate(value_SC):
    for column, value in enumerate(values):
      colour = "white" if value > 0.5 else "black"
      text = "-" if math.isnan(value) else f"{value:.3f}"
      axes.text(column, line, text, ha="center", va="center", color=colour)
  return figure
