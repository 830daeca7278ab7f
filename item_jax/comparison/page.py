"""Rows of a comparison in, one HTML page that needs no other file out."""

import html
from collections.abc import Sequence

from item_jax.comparison import render

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
svg text { font: 12px system-ui, sans-serif }
.wide { overflow-x: auto }
"""
_BARS = (
  ("both/recall@10", "both", "#2f6db3"),
  ("image/recall@10", "image alone", "#d98324"),
  ("title/recall@10", "title alone", "#5b9a57"),
)
_LEFT, _WIDTH, _BAR = 210, 520, 11  # pixels


def page(rows: Sequence[dict], about: dict) -> str:
  """The tables, recall@10 as bars with the seeds' spread, and what was run."""
  parts = [f"<h1>Same-product search on {_text(about['data']['path'])}</h1>"]
  parts.append(_bars(rows))
  for caption, header, lines in render.tables(rows, about["base"]):
    parts.append(f"<h2>{_text(caption)}</h2>")
    parts.append(_table(header, lines))
  parts.append("<h2>Notes</h2><ul>")
  parts += [f"<li>{_text(note)}</li>" for note in about["notes"]]
  parts.append("</ul><h2>What was run</h2>")
  parts.append(_table(["what", ""], _facts(about)))
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    f"<title>Comparison</title><style>{_STYLE}</style></head>\n<body>\n"
    + "\n".join(parts)
    + "\n</body></html>\n"
  )


def _facts(about: dict) -> list[list[str]]:
  facts = [
    ["command", about["command"]],
    ["date", about["date"]],
    ["device", about["device"]],
    ["budget", about["budget"]],
  ]
  for what, said in about["data"]["fingerprint"].items():
    rows = about["data"]["rows"].get(what)
    counted = "" if rows is None else f"{rows:,} rows, "
    facts.append([f"data, {what}", f"{counted}{said}"])
  facts += [list(pair) for pair in about["versions"].items()]
  return facts


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  head = "".join(f"<th>{_text(name)}</th>" for name in header)
  body = "\n".join(
    "<tr>" + "".join(f"<td>{_cell(x)}</td>" for x in line) + "</tr>"
    for line in lines
  )
  return f'<div class="wide"><table><tr>{head}</tr>\n{body}\n</table></div>'


def _cell(text: str) -> str:
  inner = text.removeprefix(render.STRONG).removesuffix(render.STRONG)
  return _text(text) if inner == text else f"<b>{_text(inner)}</b>"


def _bars(rows: Sequence[dict]) -> str:
  """An inline SVG: a group of bars a system, a line from min to max."""
  shown = [row for row in rows if _BARS[0][0] in row["cells"]]
  drawn, y = [], 24
  x = _LEFT
  for _, name, colour in _BARS:
    drawn.append(
      f'<rect x="{x}" y="6" width="10" height="10" fill="{colour}"/>'
      f'<text x="{x + 15}" y="15">{name}</text>'
    )
    x += 110
  for row in shown:
    drawn.append(
      f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">'
      f"{_text(row['system'])}</text>"
    )
    for name, _, colour in _BARS:
      if name not in row["cells"]:
        continue
      drawn.append(_bar(row["cells"][name], y, colour))
      y += _BAR + 2
    y += 12
  width = _LEFT + _WIDTH + 60
  return (
    f'<svg width="{width}" height="{y}" role="img" aria-label="recall@10 of'
    ' each system">' + "".join(drawn) + "</svg>"
  )


def _bar(found: dict, y: int, colour: str) -> str:
  mean, low, high = (
    _LEFT + _WIDTH * found[name] for name in ("mean", "min", "max")
  )
  middle = y + _BAR / 2
  return (
    f'<rect x="{_LEFT}" y="{y}" width="{mean - _LEFT:.1f}" height="{_BAR}"'
    f' fill="{colour}"/>'
    f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"'
    ' stroke="#1a1a1a"/>'
    f'<text x="{max(mean, high) + 6:.1f}" y="{y + _BAR}">'
    f"{render.share(found['mean'])}</text>"
  )


def _text(value) -> str:
  return html.escape(str(value))
