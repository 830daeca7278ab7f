"""Shows which modality dominates: as text, in a notebook, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from item_jax.evaluation.results import Tables, with_interval

# What a query shows; the index shows both, of every listing.
VIEWS = {
  "both": "image and title",
  "image": "image alone",
  "title": "title alone",
  "other_title": "another's title",
  "other_image": "another's image",
  "blank_image": "grey image",
  "empty_title": "empty title",
}
_GROUPED = ("both", "image", "title", "other_title", "other_image")


@dataclass(frozen=True, eq=False, repr=False)
class Modality(Tables):
  """Which modality decides an embedding, and where what it knows comes from.

  counts: rows (of the index), listings (with image and title: what is
    disturbed), queries (of those, with another listing of their product),
    products, seed; of a run split and step too.
  balance: "value" from -1 (the image alone moves an embedding) to 1 (the title
    alone), None where neither does; its 95 % "interval"; "title_moves" and
    "image_moves", one minus the cosine of an embedding with itself after the
    title, or the image, became another product's.
  views: {name of `VIEWS`: {"recall@10", "map@10", each with " drop" against
    "both", and "cosine" with it}}, each {"value", "interval"}.
  by_category, by_title_length: a dict a group: "group", "listings", "queries",
    "recall@10" and "map@10" ({view: mean}), and "balance" as above.
  attention: of [CLS] to itself, patches and tokens, a dict a "layer", the last
    of which is "positions", what equal attention would give.
  gradients: a dict an objective: "image", "title" (norms) and "title_share".
  cosine_shares: of [CLS] and both sides in a cosine, of a network with sides.
  readable: a dict a column of labels: its accuracy from each view.
  notes: what does not apply, and why.
  """

  counts: dict[str, Any]
  balance: dict[str, Any]
  views: dict[str, dict[str, Any]]
  by_category: list[dict[str, Any]] = field(default_factory=list)
  by_title_length: list[dict[str, Any]] = field(default_factory=list)
  attention: list[dict[str, Any]] = field(default_factory=list)
  gradients: list[dict[str, Any]] = field(default_factory=list)
  cosine_shares: dict[str, float] = field(default_factory=dict)
  readable: list[dict[str, Any]] = field(default_factory=list)
  notes: list[str] = field(default_factory=list)

  def to_dict(self) -> dict[str, Any]:
    """Returns all fields by their names."""
    return {name: getattr(self, name) for name in self.__dataclass_fields__}

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each view and figure: its value and interval."""
    lines = []
    for view, figures in self.views.items():
      for name, found in figures.items():
        low, high = found["interval"] or (None, None)
        value = {"value": found["value"], "low": low, "high": high}
        lines.append({"query": view, "figure": name, **value})
    return lines

  def sentence(self) -> str:
    """Says what was measured, and the balance score."""
    counts, balance = self.counts, self.balance
    lines = [
      f"{counts['listings']:,} listings with an image and a title, of"
      f" {counts['products']:,} products; {counts['queries']:,} are queries:"
      " they have another listing of their product among all"
      f" {counts['rows']:,}",
      f"balance {_signed(balance)}, from -1 (only the image moves an"
      " embedding) to +1 (only the title does):",
      f"another product's title moves it by {balance['title_moves']:.4f}, its"
      f" image by {balance['image_moves']:.4f} (1 - cosine)",
    ]
    if "step" in counts:
      lines[0] = f"split {counts['split']}, step {counts['step']}: {lines[0]}"
    if shares := self.cosine_shares:
      said = ", ".join(f"{name} {value:.3f}" for name, value in shares.items())
      lines.append(f"a cosine is made of: {said}")
    return "\n".join(lines)

  def remarks(self) -> list[str]:
    """Returns `notes`."""
    return self.notes

  def tables(self) -> list[tuple[str, list[dict[str, str]]]]:
    """Returns (title, lines of {column: text}) of what there is."""
    found = [
      ("", [_view_line(name, one) for name, one in self.views.items()]),
      ("by leaf category: recall@10", [_group(x) for x in self.by_category]),
      ("by title length: recall@10", [_group(x) for x in self.by_title_length]),
      (
        "attention of [CLS], mean of heads and listings",
        [_numbers(line) for line in self.attention],
      ),
      (
        "gradient of each objective by modality",
        [_numbers(line) for line in self.gradients],
      ),
      (
        "what a linear classifier reads: accuracy on other products",
        [_accuracies(line) for line in self.readable],
      ),
    ]
    return [(title, rows) for title, rows in found if rows]


def _view_line(name: str, figures: Mapping[str, Any]) -> dict[str, str]:
  line = {"query shows": VIEWS[name]}
  for measure in ("recall@10", "map@10"):
    if measure in figures:
      line[measure] = f"{figures[measure]['value']:.4f}"
      drop = figures.get(f"{measure} drop")
      line["drop " + measure] = _signed(drop) if drop else "-"
  return line | {"cosine": f"{figures['cosine']['value']:.4f}"}


def _group(line: Mapping[str, Any]) -> dict[str, str]:
  cells = {name: f"{line[name]:,}" for name in ("listings", "queries")}
  for view in _GROUPED:
    value = line["recall@10"].get(view)
    cells[VIEWS[view]] = "-" if value is None else f"{value:.4f}"
  return {"": line["group"], **cells, "balance": _signed(line["balance"])}


def _numbers(line: Mapping[str, Any]) -> dict[str, str]:
  cells = {}
  for name, value in line.items():
    if value is None:
      cells[name] = "-"
    elif isinstance(value, float):
      # Norms may be of any size, fractions are of one.
      cells[name] = (
        f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"
      )
    else:
      cells[name] = f"{value:,}" if isinstance(value, int) else str(value)
  return cells


def _accuracies(line: Mapping[str, Any]) -> dict[str, str]:
  """A line of `Modality.readable`, each accuracy with its interval."""
  cells = {}
  for name, text in _numbers(line).items():
    view, space, _ = name.partition(" ")
    if space:  # its interval
      cells[view] = with_interval(line[view], line[name])
    else:
      cells[name] = text
  return cells


def _signed(found: Mapping[str, Any]) -> str:
  """A value with its sign, and its interval where it has one."""
  if found["value"] is None:
    return "undefined"
  text = f"{found['value']:+.3f}"
  if found["interval"]:
    low, high = found["interval"]
    text += f" [{low:+.3f}, {high:+.3f}]"
  return text
