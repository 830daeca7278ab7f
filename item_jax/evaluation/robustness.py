"""Scores what is found without a side, with few tokens, and after changes."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from item_jax.errors import check_fraction
from item_jax.evaluation.changed import (
  MEASURES,
  only_ids_rank,
  score_changed,
)
from item_jax.evaluation.items import Items
from item_jax.evaluation.results import Tables, with_interval
from item_jax.evaluation.retrieval import Scores
from item_jax.evaluation.variants import compare_variants

if TYPE_CHECKING:
  from matplotlib.figure import Figure

ROLES = ("full", "image", "title")  # of queries; an index may be mixed too
LENGTHS = (0, 1, 2, 4, 8)  # tokens of a title
STRENGTHS = (1, 2, 3, 4, 5)
_SHOWN = {"full": "image and title", "title": "title alone"}


@dataclass(frozen=True, eq=False, repr=False)
class Robustness(Tables):
  """What is found of listings that lack a side, or were changed.

  Figures are {"recall@10", "map@10"}, and where there is something to compare
  with {"recall@10 drop", "map@10 drop"} of the same queries; each is {"value",
  "interval"}, the interval at 95 % or None.

  counts: rows, queries, left_out, image, title and boxes (rows that have
    them), mixed_rate, seed; of a run split and step too, and regions where
    boxes are not given.
  roles: figures of each "query" (of `ROLES`) and "index" (also "mixed"), but
    for those of which all cosines are equal: only ids would rank listings.
  lengths: figures of each "query" ("full": with its image, or "title") and
    number of "tokens", the last "all"; drops are against all.
  changes: {name: figures of each "strength", from 0, which is unchanged}.
  regions: figures of each "side" ("full", "image"), "query" and "index"
    ("whole", "region"); drops are against whole images.
  variants: "own_nearer", how often a listing's own product is nearer than its
    variant, of each thing that "differs" and "query" (of `ROLES`), which is
    searched in an index that shows the same; "pairs" and "questions" of it.
  """

  counts: dict[str, Any]
  roles: list[dict[str, Any]] = field(default_factory=list)
  lengths: list[dict[str, Any]] = field(default_factory=list)
  changes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
  regions: list[dict[str, Any]] = field(default_factory=list)
  variants: list[dict[str, Any]] = field(default_factory=list)

  def to_dict(self) -> dict[str, Any]:
    """Returns all fields by their names."""
    return {name: getattr(self, name) for name in self.__dataclass_fields__}

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each figure: what it is of, value and interval."""
    parts = [("roles", self.roles), ("lengths", self.lengths)]
    parts += [*self.changes.items(), ("regions", self.regions)]
    parts += [("variants", self.variants)]
    lines = []
    for part, given in parts:
      for line in given:
        found = {k: v for k, v in line.items() if isinstance(v, dict)}
        of = {k: v for k, v in line.items() if k not in found}
        for name, one in found.items():
          low, high = one["interval"] or (None, None)
          value = {"value": one["value"], "low": low, "high": high}
          lines.append({"part": part, **of, "figure": name, **value})
    return lines

  def write_figures(self, folder: str | Path) -> list[Path]:
    """Writes the curves as robustness.png and robustness.svg.

    Returns:
      The files; none where there is no curve.
    """
    from item_jax.evaluation.page.pictures import write_pictures

    figure = self.draw()
    return (
      [] if figure is None else write_pictures(folder, "robustness", figure)
    )

  def draw(self) -> "Figure | None":
    """Draws the curves with matplotlib; None where there are none."""
    from item_jax.evaluation.page.robustness import draw_robustness

    return draw_robustness(self) if self.lengths or self.changes else None

  def sentence(self) -> str:
    counts = self.counts
    text = (
      f"{counts['queries']:,} queries, {counts['left_out']:,} left out (no"
      f" other listing of their product), index {counts['rows']:,}, of which"
      f" {counts['image']:,} have an image and {counts['title']:,} a title; in"
      " brackets the 95 % interval"
    )
    if "step" in counts:
      text = f"split {counts['split']}, step {counts['step']}: {text}"
    return text

  def tables(self) -> list[tuple[str, list[dict[str, str]]]]:
    """(title, lines of {column: text}) of what there is."""
    found = []
    scored = {(line["query"], line["index"]) for line in self.roles}
    absent = [
      f"{query} in {index}"
      for query in ROLES
      for index in (*ROLES, "mixed")
      if (query, index) not in scored
    ]
    for name in MEASURES:
      rate = self.counts["mixed_rate"]
      title = (
        f"{name} by what queries show (lines) and the index holds (columns); in"
        f" the mixed index {rate:.0%} of the complete listings lack a side"
      )
      if self.roles and absent:
        title += f"; left out, for only ids would rank: {', '.join(absent)}"
      found.append((title, _table(self.roles, "query", "index", name)))
    for name in MEASURES:
      title = f"{name} by tokens of the query's title, in the full index"
      lines = [x | {"query": _SHOWN[x["query"]]} for x in self.lengths]
      found.append((title, _table(lines, "tokens", "query", name)))
    for name in MEASURES:
      title = f"{name} of changed queries by strength, in the unchanged index"
      found.append((title, [_curve(*x, name) for x in self.changes.items()]))
    boxes = f"{self.counts.get('boxes', 0):,} listings"
    if "regions" in self.counts:
      boxes += f", by {self.counts['regions']}"
    for name in MEASURES:
      title = (
        f"{name} of whole images and of the regions of {boxes}:"
        " queries (lines) by index (columns)"
      )
      lines = [
        x | {"query": f"{x['side']}, {x['query']}"} for x in self.regions
      ]
      found.append((title, _table(lines, "query", "index", name)))
    title = "how often a listing's own product is nearer than its variant, by"
    title += " what differs (lines) and both show (columns); chance .5"
    found.append((title, _variant_table(self.variants)))
    return [(title, rows) for title, rows in found if rows]


def _table(
  lines: Sequence[Mapping[str, Any]], down: str, across: str, name: str
) -> list[dict[str, str]]:
  """A figure by two of its names."""
  rows: dict[Any, dict[str, str]] = {}
  for line in lines:
    row = rows.setdefault(line[down], {down: str(line[down])})
    row[line[across]] = with_interval(**line[name])
  return list(rows.values())


def _variant_table(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
  rows = _table(lines, "differs", "query", "own_nearer")
  counts = {x["differs"]: (x["pairs"], x["questions"]) for x in lines}
  for row in rows:
    pairs, questions = counts[row["differs"]]
    row |= {"pairs": f"{pairs:,}", "asked": f"{questions:,}"}
  return rows


def _curve(change: str, lines: Sequence[Mapping], name: str) -> dict[str, str]:
  row = {"change": change}
  row |= {str(x["strength"]): f"{x[name]['value']:.4f}" for x in lines}
  last = lines[-1]
  drop = with_interval(**last[f"{name} drop"])
  return row | {f"drop at {last['strength']}": drop}


def mix(
  ids: Sequence[str], complete_N: np.ndarray, *, rate: float, seed: int = 0
) -> np.ndarray:
  """Draws what a mixed index holds of each listing, by its id and the seed.

  A listing that loses a side at one rate loses it at any higher one.

  Args:
    complete_N: bool, which listings have both sides; others stay.
    rate: of them that lose a side, half of them the image and half the title.

  Returns:
    What is left: numbers of `ROLES`, int [N].

  Raises:
    UserError: the rate is none.
  """
  check_fraction("mixed_rate", rate)
  left_N = np.zeros(len(ids), int)
  for row, name in enumerate(ids):
    lot = hashlib.sha256(f"{seed}\nmixed\n{name}".encode()).digest()
    if complete_N[row] and int.from_bytes(lot[:8]) < rate * 2**64:
      left_N[row] = 1 + lot[8] % 2
  return left_N


def score_roles(
  views: Mapping[Any, np.ndarray],
  left_N: np.ndarray,
  items: Items,
  describe: Callable[[Scores], dict[str, Any]],
) -> list[dict[str, Any]]:
  """Scores each role's queries in each index, as `Robustness.roles`.

  Args:
    views: {role of `ROLES`: float [N, D]}.
    left_N: of `mix`.
    describe: makes figures of scores.
  """
  indexes = {role: views[role] for role in ROLES}
  indexes["mixed"] = np.choose(left_N[:, None], list(indexes.values()))
  return [
    {
      "query": query,
      "index": index,
      **describe(score_changed(views[query], index_ND, items)),
    }
    for query in ROLES
    for index, index_ND in indexes.items()
    if not only_ids_rank(views[query], index_ND)
  ]


def score_variants(
  views: Mapping[Any, np.ndarray],
  items: Items,
  variants: str | os.PathLike,
  *,
  bootstrap: int,
  seed: int,
) -> list[dict[str, Any]]:
  """Scores each role on pairs of products, as `Robustness.variants`.

  Args:
    views: {role of `ROLES`: float [N, D]}.
    variants, bootstrap, seed: as of `compare_variants`.
  """
  found = compare_variants(
    {role: (views[role], items) for role in ROLES},
    Path(variants),
    bootstrap=bootstrap,
    seed=seed,
  )
  return [
    {
      "differs": differs,
      "pairs": group["pairs"],
      "questions": group["questions"],
      "query": role,
      "own_nearer": {
        "value": group["share"][role],
        "interval": group["interval"][role],
      },
    }
    for differs, group in found.groups.items()
    for role in ROLES
  ]
