"""Renders a comparison as one HTML page that needs no other file."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from item_jax.comparison.headline import grouped
from item_jax.comparison.render import score_tables
from item_jax.comparison.table import Table, fraction
from item_jax.evaluation.page.pictures import inline_svg

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1a1a1a }
table { border-collapse: collapse; margin: .5rem 0 2rem }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd }
th { text-align: left; vertical-align: bottom }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums }
td { white-space: nowrap }
tr > :first-child { position: sticky; left: 0; background: #fff }
tr:hover td { background: #f0f4fa }
li { max-width: 60rem }
code { background: #f4f4f4; padding: .1rem .3rem; overflow-wrap: anywhere }
.wide { overflow-x: auto }
"""
_BARS = (
  ("both/recall@10", "both", "#2f6db3"),
  ("image/recall@10", "image alone", "#d98324"),
  ("title/recall@10", "title alone", "#5b9a57"),
)


def render_page(rows: Sequence[Mapping], about: Mapping[str, Any]) -> str:
  """Shows the tables, recall@10 as bars, and what was run.

  Args:
    rows, about: as in `item_jax.comparison.result.Comparison`.
  """
  title = f"Same-product search on {about['data']['path']}"
  parts = [f"<h1>{html.escape(title)}</h1>"]
  parts.append(f"<p>{html.escape(about['headline'])}</p>")
  parts.append(inline_svg(bars(rows), "recall@10 of each system"))
  for table in score_tables(rows, about["base"]):
    parts += [f"<h2>{html.escape(table.caption)}</h2>", _wide(table)]
  notes = "\n".join(f"<li>{html.escape(note)}</li>" for note in about["notes"])
  parts.append(f"<h2>Notes</h2><ul>\n{notes}\n</ul><h2>What was run</h2>")
  parts.append(_wide(Table("", ["what", ""], _facts(about))))
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    f"<title>Comparison</title><style>{_STYLE}</style></head>\n<body>\n"
    + "\n".join(parts)
    + "\n</body></html>\n"
  )


def _wide(table: Table) -> str:
  return f'<div class="wide">{table.to_html()}</div>'


def _facts(about: Mapping[str, Any]) -> list[list[str]]:
  facts = [
    [what, about[what]] for what in ("command", "date", "device", "budget")
  ]
  for what, fingerprint in about["data"]["fingerprint"].items():
    rows = about["data"]["rows"].get(what)
    counted = "" if rows is None else f"{rows:,} rows, "
    facts.append([f"data, {what}", f"{counted}{fingerprint}"])
  return facts + [list(pair) for pair in about["versions"].items()]


def bars(rows: Sequence[Mapping]):
  """Draws recall@10 of each system, a line from its worst seed to its best.

  Returns:
    A matplotlib.figure.Figure.
  """
  from matplotlib.figure import Figure

  shown = [row for row in grouped(rows) if _BARS[0][0] in row["cells"]]
  figure = Figure(figsize=(8, 0.6 + 0.55 * len(shown)), layout="constrained")
  axes = figure.add_subplot()
  for number, (name, label, colour) in enumerate(_BARS):
    axes.barh(0, 0, color=colour, label=label)  # for the legend
    for row, system in enumerate(shown):
      cell = system["cells"].get(name)
      if cell is None:
        continue
      y, mean = row + (number - 1) / 4, cell["mean"]
      axes.barh(y, mean, 0.22, color=colour)
      axes.plot((cell["min"], cell["max"]), (y, y), color="#1a1a1a", lw=1)
      axes.annotate(
        fraction(mean),
        (max(mean, cell["max"]), y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
      )
  axes.set(xlim=(0, 1.08), yticks=range(len(shown)))
  names = [row["system"] for row in shown]
  axes.set_yticklabels(names, parse_math=False)
  axes.invert_yaxis()
  axes.tick_params(length=0)
  axes.spines[["top", "right", "bottom"]].set_visible(False)
  axes.set_xticks([])
  if shown:
    figure.legend(ncols=len(_BARS), loc="outside upper left", frameon=False)
  return figure
