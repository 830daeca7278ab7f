"""Lays the rows of a comparison out as tables."""

from collections.abc import Mapping, Sequence

from item_jax.comparison.headline import grouped, spell
from item_jax.comparison.score import COMPARED
from item_jax.comparison.summary import HEADINGS
from item_jax.comparison.table import (
  ABSENT,
  Bold,
  Table,
  amount,
  fraction,
  whole,
)

SIGNIFICANT = 0.05  # differences with a smaller p are bold
_SPREAD = ("mean", "std", "min", "max")


def score_tables(rows: Sequence[Mapping], base: str) -> list[Table]:
  """Makes the table of scores and, where there are any, that of differences.

  Rows are in the order of what they need. In bold: each column's best score,
  and significant differences.

  Args:
    rows: as `item_jax.comparison.summary.make_rows` returns them.
    base: the system that the others are compared with.
  """
  headings, rows = _measured(rows), grouped(rows)
  best = {
    name: max(r["cells"][name]["mean"] for r in rows if name in r["cells"])
    for name in headings
  }

  def score(row, name: str) -> str:
    cell = row["cells"].get(name)
    if cell is None:
      return ABSENT
    text = fraction(cell["mean"], signed=name == "gap")
    if cell["std"] is not None:
      text += f" ± {fraction(cell['std'])}"
    bold = len(rows) > 1 and name != "gap" and cell["mean"] == best[name]
    return Bold(text) if bold else text

  lines = [
    [
      _label(row),
      spell(row["needs"]),
      *(score(row, name) for name in headings),
      amount(row["parameters"]),
      amount(row["train_flops"]),
      whole(row["seconds"] and row["seconds"]["mean"]),
    ]
    for row in rows
  ]
  header = ["system", "needs", *headings.values()]
  header += ["parameters", "FLOPs", "seconds"]
  tables = [Table("Scores", header, lines)]
  compared = [
    name for name in COMPARED if any(name in row["against"] for row in rows)
  ]
  if compared:
    (held,) = (_label(row) for row in rows if row["system"] == base)
    tables.append(
      Table(
        f"Less {held}, with 95 % interval",
        ["system", *(HEADINGS[name] for name in compared)],
        [
          [_label(row), *(difference(row["against"].get(n)) for n in compared)]
          for row in rows
          if row["against"]
        ],
      )
    )
  return tables


def _measured(rows: Sequence[Mapping]) -> dict[str, str]:
  """{measure: heading} of what any row has."""
  return {
    name: heading
    for name, heading in HEADINGS.items()
    if any(name in row["cells"] for row in rows)
  }


def _label(row: Mapping) -> str:
  """A row's name, and how many of its seeds are there if not all are."""
  if not row["missing"]:
    return row["system"]
  there = len(row["seeds"])
  return f"{row['system']} ({there} of {there + row['missing']} seeds)"


def difference(found: Mapping | None) -> str:
  """Writes a difference with its interval and p; bold if significant."""
  if found is None:
    return ABSENT
  low, high = (fraction(end, signed=True) for end in found["interval"])
  text = (
    f"{fraction(found['difference'], signed=True)} [{low}, {high}],"
    f" p {fraction(found['p'])}"
  )
  return Bold(text) if found["p"] < SIGNIFICANT else text


def number_table(rows: Sequence[Mapping]) -> Table:
  """Makes a table with every number in full, a line per system."""
  header = ["system", "needs", "seeds", "missing", "parameters", "train_flops"]
  spread = [*_measured(rows), "seconds"]
  header += [f"{name} {part}" for name in spread for part in _SPREAD]
  for name in COMPARED:
    header += [f"{name} {x}" for x in ("difference", "low", "high", "p")]
  lines = []
  for row in rows:
    line = [row["system"], spell(row["needs"])]
    line += [len(row["seeds"]), row["missing"]]
    line += [row["parameters"], row["train_flops"]]
    cells = row["cells"] | {"seconds": row["seconds"]}
    for name in spread:
      found = cells.get(name) or {}
      line += [found.get(part) for part in _SPREAD]
    for name in COMPARED:
      found = row["against"].get(name, {})
      low, high = found.get("interval", (None, None))
      line += [found.get("difference"), low, high, found.get("p")]
    lines.append(line)
  return Table("Every number in full", header, lines)
