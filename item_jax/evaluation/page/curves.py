"""Reads what runs measured, and draws it: losses, and what is found."""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from item_jax.errors import NotFoundError, UserError
from item_jax.files import METRICS_FILE, whole_rows
from item_jax.listing import as_list

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_FLOOR = "_floor"  # of a loss's chance level
LABELS = {
  "losses": "losses, and the chance level of each dashed",
  "modalities": "what is found on validation, by what the model is shown",
  "balance": "which side moves an embedding on validation: balance, 1 where"
  " only the title does, -1 where only the image does; cosine with itself after"
  " one became another product's",
}
# Of the evaluator "modality", with the ends of their axes.
_MOVED = {
  "balance": (-1, 1),
  "other_title": (None, 1),
  "other_image": (None, 1),
}
_COLUMNS = 3
# Told apart by their dashes and marks too.
LINES = (
  ("#1f5fa8", "-", "o"),
  ("#b3541e", "--", "s"),
  ("#2f7d32", "-.", "^"),
  ("#6a3d9a", ":", "D"),
  ("#8c1d40", (0, (5, 1)), "v"),
  ("#4d4d4d", (0, (1, 1)), "P"),
)
Runs = Mapping[str, "Curves"]  # by name


class Series(NamedTuple):
  """Values at steps, ascending."""

  steps: list[int]
  values: list[float]


@dataclass(frozen=True)
class Curves:
  """What a run measured.

  losses: {name: Series}, "loss" (the sum) first. chance: {loss: Series}, its
  chance level. modalities: {measure: {what is shown: Series}}, of validation.
  moved: {name: Series} of what the evaluator "modality" has measured.
  """

  losses: dict[str, Series] = field(default_factory=dict)
  chance: dict[str, Series] = field(default_factory=dict)
  modalities: dict[str, dict[str, Series]] = field(default_factory=dict)
  moved: dict[str, Series] = field(default_factory=dict)


def read_curves(workdir: str | os.PathLike) -> Curves:
  """Reads a run's metrics.jsonl; what counted nothing at a step is left out.

  Raises:
    NotFoundError: there is no such folder, or no such file in it.
    UserError: it has no row of a run.
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
  rows = [row for row, _ in whole_rows(path)]
  if not rows and path.stat().st_size:
    raise UserError(
      f"{path} has no row of a run: expected objects with step and kind"
    )
  for row in rows:
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
    elif shown == "modality" and measure in _MOVED:
      _append(curves.moved, measure, row["step"], value)


def _append(held: dict[str, Series], name: str, step: int, value: Any) -> None:
  if isinstance(value, (int, float)):
    series = held.setdefault(name, Series([], []))
    series.steps.append(step)
    series.values.append(float(value))


def read_runs(
  workdirs: str | os.PathLike | Sequence[str | os.PathLike] | None,
) -> dict[str, Curves]:
  """Reads one run or several, by as much of their paths as tells them apart.

  Raises:
    UserError: as of `read_curves`; a run is given twice, or they are too many.
  """
  if workdirs is None:
    return {}
  workdirs = as_list(workdirs, "run")
  if len(workdirs) > len(LINES):
    raise UserError(
      f"{len(workdirs)} runs: lines of {len(LINES)} at most can be told apart"
    )
  parts = [Path(one).absolute().parts for one in workdirs]
  if len(set(parts)) < len(parts):
    raise UserError(f"a run is given twice: {', '.join(map(str, workdirs))}")
  named = (["/".join(x[-n:]) for x in parts] for n in itertools.count(1))
  names = next(names for names in named if len(set(names)) == len(names))
  return dict(zip(names, map(read_curves, workdirs), strict=True))


def draw_curves(runs: Runs) -> dict[str, "Figure"]:
  """Draws what there is of `LABELS`."""
  found = {}
  if any(one.losses for one in runs.values()):
    found["losses"] = draw_losses(runs)
  if any(one.modalities for one in runs.values()):
    found["modalities"] = draw_modalities(runs)
  if any(one.moved for one in runs.values()):
    found["balance"] = draw_balance(runs)
  return found


def draw_losses(runs: Runs) -> "Figure":
  """Draws a panel for each loss, its chance level dashed beside it.

  Of several runs each has a line in a panel, and the chance level its colour.
  """
  names = list(dict.fromkeys(x for one in runs.values() for x in one.losses))
  figure, panels = make_panels(len(names))
  for axes, name in zip(panels, names, strict=True):
    for (colour, _, mark), (run, curves) in zip(
      LINES, runs.items(), strict=False
    ):
      # matplotlib leaves out of a legend what begins with "_".
      label, level, shade = run, f"_chance, {run}", colour
      if len(runs) == 1:
        label, level, shade, mark = name, "chance", "#555", ""
      if name in curves.losses:
        series = curves.losses[name]
        every = 1 + len(series.steps) // 8
        marks = {"marker": mark, "ms": 3.5, "markevery": every}
        axes.plot(*series, color=colour, lw=1.4, label=label, **marks)
      if name in curves.chance:
        axes.plot(
          *curves.chance[name], color=shade, lw=1.2, ls="--", label=level
        )
    of_one = len(runs) == 1 and len(axes.get_lines()) == 2
    if of_one or (len(runs) > 1 and name == names[0]):
      add_legend(axes)
    finish(axes, name)
  return figure


def draw_modalities(runs: Runs) -> "Figure":
  """Draws a panel for each measure, a line for each thing shown.

  Of several runs a panel for each measure and thing shown, a line for each run.
  """
  panels: dict[str, list[tuple[Any, str, Series]]] = {}
  for place, (run, curves) in enumerate(runs.items()):
    for measure, found in curves.modalities.items():
      for number, (shown, series) in enumerate(found.items()):
        panel, line = measure, (LINES[number % len(LINES)], shown, series)
        if len(runs) > 1:
          panel, line = f"{measure}, {shown}", (LINES[place], run, series)
        panels.setdefault(panel, []).append(line)
  columns, width = (2, 4.2) if len(runs) == 1 else (_COLUMNS, 3.0)
  figure, drawn = make_panels(len(panels), columns=columns, width=width)
  for axes, (title, lines) in zip(drawn, panels.items(), strict=True):
    for (colour, dashes, mark), label, series in lines:
      axes.plot(
        *series, color=colour, ls=dashes, marker=mark, ms=3.5, label=label
      )
    axes.set_ylim(0, 1)
    add_legend(axes)
    finish(axes, title)
  return figure


def draw_balance(runs: Runs) -> "Figure":
  """Draws a panel for each of `Curves.moved`, a line for each run."""
  held = {name for one in runs.values() for name in one.moved}
  names = [name for name in _MOVED if name in held]
  figure, panels = make_panels(len(names))
  for axes, name in zip(panels, names, strict=True):
    for (colour, dashes, mark), (run, curves) in zip(
      LINES, runs.items(), strict=False
    ):
      if name in curves.moved:
        series, style = curves.moved[name], {"ls": dashes, "marker": mark}
        axes.plot(*series, color=colour, ms=3.5, label=run, **style)
    low, high = _MOVED[name]
    axes.set_ylim(low, high)
    if low is not None:
      axes.axhline(0, color="#555", lw=0.8)
    if len(runs) > 1 and name == names[0]:
      add_legend(axes)
    finish(axes, name)
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


def add_legend(axes, *, below: bool = False) -> None:
  """Adds a legend in which dollar signs are dollar signs.

  Args:
    below: beneath the axes, for curves that leave no room.
  """
  place = {}
  if below:
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2}
  for text in axes.legend(frameon=False, fontsize=7, **place).get_texts():
    text.set_parse_math(False)


def finish(axes, title: str, across: str = "step") -> None:
  """Names axes and what goes across them, and takes away what is not read."""
  axes.set_title(title, fontsize=9, parse_math=False)
  axes.set_xlabel(across, fontsize=8)
  axes.tick_params(labelsize=7)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(alpha=0.25)
