"""Rows of a comparison in; Markdown and CSV out."""

import csv
import io
from collections.abc import Sequence

from item_jax.comparison.score import COMPARED

_HEADS = {
  "both/recall@10": "recall@10",
  "both/map@10": "MAP@10",
  "image/recall@10": "image recall@10",
  "image/map@10": "image MAP@10",
  "title/recall@10": "title recall@10",
  "title/map@10": "title MAP@10",
  "gap": "gap",
  "category/accuracy": "category",
  "category/macro_f1": "macro-F1",
  "own/accuracy": "own category",
  "own/macro_f1": "own macro-F1",
}
ABSENT = "-"
_LETTERS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
STRONG = "**"  # around what is set in bold
SURE = 0.05  # a difference's p, from below which it is


def heads(rows: Sequence[dict]) -> dict[str, str]:
  """{cell: its heading} of the cells that any row has."""
  return {
    name: head
    for name, head in _HEADS.items()
    if any(name in row["cells"] for row in rows)
  }


def share(value: float, *, signed: bool = False) -> str:
  """.123, as shares of one are written; -.012 and +.012."""
  text = f"{abs(value):.3f}"
  text = text[1:] if text.startswith("0") else text
  negative = value < 0 and float(f"{value:.3f}") != 0
  return ("-" if negative else "+" if signed else "") + text


def cell(found: dict | None, *, signed: bool = False) -> str:
  """Mean and, of several seeds, their standard deviation."""
  if found is None:
    return ABSENT
  text = share(found["mean"], signed=signed)
  if found["std"] is not None:
    text += f" ± {share(found['std'])}"
  return text


def amount(value: float | None) -> str:
  """1,234,567 as 1.23 M and so on, three digits; below a million in full."""
  if value is None:
    return ABSENT
  rounded = float(f"{value:.3g}")
  for size, letter in _LETTERS:
    if rounded >= size:
      return f"{rounded / size:.3g} {letter}"
  return f"{value:,.0f}"


def seconds(found: dict | None) -> str:
  return ABSENT if found is None else f"{found['mean']:,.0f}"


def difference(found: dict | None) -> str:
  if found is None:
    return ABSENT
  low, high = (share(end, signed=True) for end in found["interval"])
  text = (
    f"{share(found['difference'], signed=True)} [{low}, {high}],"
    f" p {share(found['p'])}"
  )
  return _strong(text, found["p"] < SURE)


def _strong(text: str, wanted: bool) -> str:
  return f"{STRONG}{text}{STRONG}" if wanted else text


def named(row: dict) -> str:
  """The system, and what of it is missing."""
  if not row["missing"]:
    return row["system"]
  there = len(row["seeds"])
  return f"{row['system']} ({there} of {there + row['missing']} seeds)"


def tables(rows: Sequence[dict], base: str) -> list[tuple[str, list, list]]:
  """[(caption, header, lines)]: the scores, and what they are apart by.

  In bold: each column's best, and differences with p below `SURE`.
  """
  wanted = heads(rows)
  best = {
    name: max(r["cells"][name]["mean"] for r in rows if name in r["cells"])
    for name in wanted
  }

  def score(row, name):
    found = row["cells"].get(name)
    text = cell(found, signed=name == "gap")
    strong = len(rows) > 1 and name != "gap" and found is not None
    return _strong(text, strong and found["mean"] == best[name])

  lines = [
    [
      named(row),
      *(score(row, name) for name in wanted),
      amount(row["parameters"]),
      amount(row["train_flops"]),
      seconds(row["seconds"]),
    ]
    for row in rows
  ]
  header = ["system", *wanted.values(), "parameters", "FLOPs", "seconds"]
  made = [("Scores", header, lines)]
  compared = [
    name for name in COMPARED if any(name in row["against"] for row in rows)
  ]
  if compared:
    lines = [
      [named(row), *(difference(row["against"].get(n)) for n in compared)]
      for row in rows
      if row["against"]
    ]
    header = ["system", *(_HEADS[name] for name in compared)]
    held = next(named(row) for row in rows if row["system"] == base)
    made.append((f"Less {held}, with 95 % interval", header, lines))
  return made


def markdown(rows: Sequence[dict], about: dict) -> str:
  parts = [f"# Comparison on {about['data']['path']}, split {about['split']}"]
  for caption, header, lines in tables(rows, about["base"]):
    marks = ["---", *["---:"] * (len(header) - 1)]
    body = [header, marks, *lines]
    table = "\n".join(f"| {' | '.join(line)} |" for line in body)
    parts.append(f"{caption}\n\n{table}")
  parts.append("\n".join(f"- {note}" for note in about["notes"]))
  return "\n\n".join(parts) + "\n"


def comma_separated(rows: Sequence[dict]) -> str:
  """A line a system; every number in full, of every seed's mean and spread."""
  wanted = heads(rows)
  names = ["system", "seeds", "missing", "parameters", "train_flops"]
  parts = ("mean", "std", "min", "max")
  spread = [*wanted, "seconds"]
  names += [f"{name} {part}" for name in spread for part in parts]
  for name in COMPARED:
    names += [f"{name} {x}" for x in ("difference", "low", "high", "p")]
  file = io.StringIO()
  writer = csv.writer(file, lineterminator="\n")
  writer.writerow(names)
  for row in rows:
    line = [row["system"], len(row["seeds"]), row["missing"]]
    line += [row["parameters"], row["train_flops"]]
    for name in spread:
      found = row["seconds"] if name == "seconds" else row["cells"].get(name)
      line += [found[part] for part in parts] if found else [None] * 4
    for name in COMPARED:
      found = row["against"].get(name)
      line += (
        [found["difference"], *found["interval"], found["p"]]
        if found
        else [None] * 4
      )
    writer.writerow(line)
  return file.getvalue()
