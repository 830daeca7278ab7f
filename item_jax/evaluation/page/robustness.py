"""Draws what is found of short titles and of changed queries."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from item_jax.evaluation.changed import MEASURES
from item_jax.evaluation.page.curves import (
  LINES,
  add_legend,
  finish,
  make_panels,
)

if TYPE_CHECKING:
  from matplotlib.figure import Figure

  from item_jax.evaluation.robustness import Robustness


def draw_robustness(found: "Robustness") -> "Figure":
  """Draws a panel for title lengths and for each change, with intervals."""
  drawn: dict[str, dict[str, Sequence[Mapping[str, Any]]]] = {}
  if found.lengths:
    drawn["tokens of the title"] = {
      f"{name}, {shown}": [x for x in found.lengths if x["query"] == query]
      for query, shown in (("full", "with image"), ("title", "alone"))
      for name in MEASURES
    }
  for change, lines in found.changes.items():
    drawn[change] = dict.fromkeys(MEASURES, lines)
  figure, axes = make_panels(len(drawn))
  for one, (title, curves) in zip(axes, drawn.items(), strict=True):
    named = "tokens" if title not in found.changes else "strength"
    # Numbers of tokens stand beside each other as names: all is the last.
    places = list(
      dict.fromkeys(str(x[named]) for y in curves.values() for x in y)
    )
    for style, (label, lines) in zip(LINES, curves.items(), strict=False):
      _draw(one, lines, places, named, label, style)
    one.set_xticks(range(len(places)), places)
    one.set_ylim(0, 1)
    finish(one, title, named)
  add_legend(axes[0], below=bool(found.lengths))
  if found.lengths and found.changes:
    add_legend(axes[1])
  return figure


def _draw(axes, lines, places, named: str, label: str, style) -> None:
  """Draws a curve over the places of its names, and its intervals."""
  colour, dashes, mark = style
  name = label.partition(",")[0]
  x = [places.index(str(line[named])) for line in lines]
  axes.plot(
    x,
    [line[name]["value"] for line in lines],
    color=colour,
    ls=dashes,
    marker=mark,
    ms=3,
    lw=1.2,
    label=label,
  )
  ends = [line[name]["interval"] for line in lines]
  if all(ends):
    low, high = zip(*ends, strict=True)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
