"""Reads what a run measured, and draws it: losses, and what is found."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from item_jax.errors import NotFoundError, UserError
from item_jax.files import METRICS_FILE, whole_rows

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_FLOOR = "_floor"  # of a loss's chance level
LABELS = {
  "losses": "losses, and the chance level of each dashed",
  "modalities": "what is found on validation, by what the model is shown",
}
_COLUMNS = 3
# Told apart by their dashes and marks too.
LINES = (
  ("#1f5fa8", "-", "o"),
  ("#b3541e", "--", "s"),
  ("#2f7d32", "-.", "^"),
  ("#6a3d9a", ":", "D"),
)


class Series(NamedTuple):
  """Values at steps, ascending."""

  steps: list[int]
  values: list[float]


@dataclass(frozen=True)
class Curves:
  """What a run measured.

  losses: {name: Series}, "loss" (the sum) first. chance: {loss: Series}, its
  chance level. modalities: {measure: {what is shown: Series}}, of validation.
  """

  losses: dict[str, Series] = field(default_factory=dict)
  chance: dict[str, Series] = field(default_factory=dict)
  modalities: dict[str, dict[str, Series]] = field(default_factory=dict)


def read_curves(workdir: str | os.PathLike) -> Curves:
  """Reads a run's metrics.jsonl; what counted nothing at a step is left out.

  Raises:
    NotFoundError: there is no such folder, or no such file in it.
    UserError: a row is none of a run's.
  """
  path = Path(workdir) / METRICS_FILE
  if not Path(workdir).is_dir():
    raise NotFoundError(f"{workdir}: no such run folder")
  if not path.is_file():
    raise NotFoundError(
      f"{workdir} has no {METRICS_FILE}: expected the workdir of a run, where"
      " training writes it"
    )
  curves = Curves(losses={"loss": Series([], [])})
  for row, _ in whole_rows(path):
    if not isinstance(row, dict) or not {"step", "kind"} <= row.keys():
      raise UserError(
        f"{path}: {str(row)[:80]} is no row of a run: expected an object with"
        " step and kind"
      )
    if row["kind"] == "train":
      _add_losses(curves, row)
    elif row["kind"] == "eval":
      _add_modalities(curves, row)
  if not curves.losses["loss"].steps:
    del curves.losses["loss"]
  return curves


def _add_losses(curves: Curves, row: dict[str, Any]) -> None:
  named = [n.removesuffix(_FLOOR) for n in row if n.endswith(_FLOOR)]
  for name in ["loss", *named]:
    _append(curves.losses, name, row["step"], row.get(name))
  for name in named:
    _append(curves.chance, name, row["step"], row[name + _FLOOR])


def _add_modalities(curves: Curves, row: dict[str, Any]) -> None:
  for name, value in row.items():
    shown, _, measure = name.partition("/")
    if measure.startswith(("recall@", "map@")):
      _append(
        curves.modalities.setdefault(measure, {}), shown, row["step"], value
      )


def _append(held: dict[str, Series], name: str, step: int, value: Any) -> None:
  if isinstance(value, (int, float)):
    series = held.setdefault(name, Series([], []))
    series.steps.append(step)
    series.values.append(float(value))


def draw_curves(curves: Curves) -> dict[str, "Figure"]:
  """Draws what there is of `LABELS`."""
  found = {}
  if curves.losses:
    found["losses"] = draw_losses(curves)
  if curves.modalities:
    found["modalities"] = draw_modalities(curves)
  return found


def draw_losses(curves: Curves) -> "Figure":
  """Draws a panel for each loss, its chance level dashed beside it."""
  figure, panels = make_panels(len(curves.losses))
  for axes, (name, series) in zip(panels, curves.losses.items(), strict=True):
    axes.plot(*series, color=LINES[0][0], lw=1.4, label=name)
    if name in curves.chance:
      axes.plot(
        *curves.chance[name], color="#555", lw=1.2, ls="--", label="chance"
      )
      add_legend(axes)
    finish(axes, name)
  return figure


def draw_modalities(curves: Curves) -> "Figure":
  """Draws a panel for each measure, a line for each thing shown."""
  figure, panels = make_panels(len(curves.modalities), columns=2, width=4.2)
  for axes, (measure, lines) in zip(
    panels, curves.modalities.items(), strict=True
  ):
    for number, (name, series) in enumerate(lines.items()):
      colour, dashes, mark = LINES[number % len(LINES)]
      axes.plot(
        *series, color=colour, ls=dashes, marker=mark, ms=3.5, label=name
      )
    axes.set_ylim(0, 1)
    add_legend(axes)
    finish(axes, measure)
  return figure


def make_panels(count: int, *, columns: int = _COLUMNS, width: float = 3.0):
  """Returns a figure with this many axes, and these."""
  from matplotlib.figure import Figure  # takes a second

  lines = -(-count // columns)
  figure = Figure(
    figsize=(width * min(count, columns), 2.3 * lines), layout="constrained"
  )
  return figure, [
    figure.add_subplot(lines, min(count, columns), number + 1)
    for number in range(count)
  ]


def add_legend(axes) -> None:
  """Adds a legend in which dollar signs are dollar signs."""
  for text in axes.legend(frameon=False, fontsize=7).get_texts():
    text.set_parse_math(False)


def finish(axes, title: str, across: str = "step") -> None:
  """Names axes and what goes across them, and takes away what is not read."""
  axes.set_title(title, fontsize=9, parse_math=False)
  axes.set_xlabel(across, fontsize=8)
  axes.tick_params(labelsize=7)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(alpha=0.25)
