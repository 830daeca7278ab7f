"""Renders a report as one HTML page that needs no network and no server."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from item_jax.errors import check_whole
from item_jax.evaluation import confusion, metrics
from item_jax.evaluation.explanation import Explanation
from item_jax.evaluation.page import cards, inside, tables
from item_jax.evaluation.page.curves import (
  LABELS,
  Runs,
  draw_curves,
  read_runs,
)
from item_jax.evaluation.page.examples import GROUPS, find_examples
from item_jax.evaluation.page.pictures import inline_svg, write_pictures
from item_jax.evaluation.page.section import Section, Table
from item_jax.evaluation.sources import BASELINES
from item_jax.registry import import_extra

if TYPE_CHECKING:
  from matplotlib.figure import Figure

  from item_jax.evaluation.report import Report

_HERE = Path(__file__).parent
_CATEGORIES = 40  # lines of the table by category
_LABELS = LABELS | {
  "confusion": "category of the query and of its nearest listing"
}


def render_page(
  report: "Report",
  *,
  run: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
  examples: int = 60,
  seed: int = 0,
  explained: Explanation | None = None,
  beside: Sequence[Section] = (),
) -> str:
  """Returns the page; arguments as of `Report.to_page`."""
  template, markup = _open_template()
  check_whole("examples", examples, at_least=1)
  metrics.check_draws(seed=seed)
  runs = read_runs(run)
  lead = lead_system(report)
  shown = _shown(report)
  measure = f"map@{max(report.k)}"
  found = find_examples(
    report.scores[lead],
    {name: report.compared.vectors[name] for name in shown},
    measure=measure,
    count=examples,
    seed=seed,
  )
  thumbnails = cards.thumbnails_of(report, found)
  drawn = dict(draw_figures(report, runs))
  less, differences = report.differences()
  columns = ["system", *report.measures]
  intervals = "In brackets the 95 % interval, by bootstrap over products"
  figures = {
    name: markup(inline_svg(one, _LABELS[name])) for name, one in drawn.items()
  }
  return template.render(
    heading=f"Same-product search on the split {report.compared.split!r}",
    css=markup(_read("page.css")),
    js=markup(_read("page.js")),
    thumbnails=thumbnails,
    all_json=markup(_script_json(cards.look_up(report, lead, thumbnails))),
    summary=f"Data set {report.compared.dataset.path.name}:"
    f" {report.counted()}.",
    scores=Table(intervals, columns, report.cells()),
    differences=Table(less, columns, differences),
    notes=report.notes(),
    run=_name_runs(runs),
    curves=[
      (_LABELS[name], figures[name]) for name in LABELS if name in figures
    ],
    inside=inside.gather(explained),
    beside=[
      (one, [(x, markup(inline_svg(figure, x))) for x, figure in one.figures])
      for one in beside
    ],
    categories=_by_category(report),
    confusion=_confused(report, lead, figures.get("confusion")),
    examples_note=cards.describe(report, found, measure),
    measure=measure,
    groups=GROUPS,
    systems=shown,
    shown_categories=sorted(
      {report.compared.items.category(one.row) for one in found} - {""}
    ),
    examples=[cards.card(report, one) for one in found],
  )


def _name_runs(runs: Runs) -> str:
  if not runs:
    return ""
  return f"The run{'s' * (len(runs) > 1)} {', '.join(runs)}."


def _script_json(value: Any) -> str:
  """JSON in a script element, which "</script" and "<!--" would end."""
  return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def lead_system(report: "Report") -> str:
  """The system that is looked at first: the first export, or else TF-IDF."""
  return next(iter(report.scores))


def draw_figures(
  report: "Report", runs: Runs
) -> Iterator[tuple[str, "Figure"]]:
  """Yields the pictures that there is something for, with their names."""
  yield from draw_curves(runs).items()
  lead = lead_system(report)
  given = tables.compare_nearest(report.scores[lead])
  if given is not None:
    title = f"Category of the nearest listing, by {lead}"
    yield (
      "confusion",
      confusion.picture(given, title=title, said="nearest listing's"),
    )


def write_figures(
  report: "Report",
  folder: str | os.PathLike,
  *,
  run: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
  beside: Sequence[Section] = (),
) -> list[Path]:
  """Writes each picture as PNG and SVG; as of `Report.write_figures`."""
  runs = read_runs(run)
  Path(folder).mkdir(parents=True, exist_ok=True)  # also for no picture
  written = []
  for name, figure in draw_figures(report, runs):
    written += write_pictures(folder, name, figure)
  for number, section in enumerate(beside, 1):
    for label, figure in section.figures:
      name = re.sub(r"\W+", "_", f"{number} {section.heading} {label}")
      written += write_pictures(folder, name.strip("_"), figure)
  return written


def _open_template() -> tuple[Any, Any]:
  """Returns the page's template, and what marks text as HTML."""
  names = ("jinja2", "markupsafe")
  jinja2, markupsafe = (
    import_extra(name, "a page takes jinja2", "report") for name in names
  )
  # Autoescape: a title with HTML in it is shown as text.
  environment = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined
  )
  return environment.from_string(_read("page.html")), markupsafe.Markup


def _read(name: str) -> str:
  return (_HERE / name).read_text("utf-8")


def _shown(report: "Report") -> list[str]:
  """The systems whose neighbours are shown: exports, where there are any."""
  exports = [name for name in report.scores if name not in BASELINES]
  return exports or list(report.scores)


def _by_category(report: "Report") -> Table | None:
  measure = f"recall@{max(report.k)}"
  lines = tables.by_category(report.scores, measure)
  if not lines:
    return None
  which = ""
  if len(lines) > _CATEGORIES:
    which = f"the {_CATEGORIES} largest of "
  return Table(
    f"{measure} of {which}{len(lines)} categories",
    ["category", "queries", *report.scores],
    [
      [line.category, line.queries]
      + [f"{line.means[name]:.4f}" for name in report.scores]
      for line in lines[:_CATEGORIES]
    ],
  )


def _confused(report: "Report", lead: str, figure) -> dict[str, Any] | None:
  given = tables.compare_nearest(report.scores[lead])
  if given is None:
    return None
  return {
    "summary": f"By {lead} the nearest listing is of the query's own category"
    f" for {int(given.correct_Q.sum()):,} of {len(given.rows_Q):,} queries.",
    "table": Table(
      "Categories that are confused most often",
      ["query's category", "nearest listing's", "queries", "of"],
      tables.most_confused(given),
    ),
    "figure": figure,
  }
