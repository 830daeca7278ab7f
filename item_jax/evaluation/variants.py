"""Measures how finely embeddings tell apart products that differ in little.

How often is another listing of its own product nearer to a listing than one of
a variant, a product that differs in one thing?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.agreement import check_same_rows
from item_jax.evaluation.columns import read_columns
from item_jax.evaluation.items import Items
from item_jax.evaluation.results import Result, with_interval
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.vectors import Mixed, lengths, to_dense
from item_jax.ingest.readers.cells import to_path, to_text

ALL = "all"


class Pair(NamedTuple):
  """Two products that differ in one thing."""

  product: str
  variant: str
  differs: tuple[str, ...]  # a path, as ("photo", "form"); () where it has none


class Question(NamedTuple):
  """Is a listing's own product nearer to it than a variant of it?"""

  row: int
  own: np.ndarray  # rows of its product, itself left out
  other: np.ndarray  # rows of the variant
  pair: Pair


@dataclass(frozen=True, eq=False, repr=False)
class Variants(Result):
  """How often the own product is nearer, by what differs.

  groups: {what differs: {"pairs": of products, "questions": listings compared,
    "share": {name: fraction}, "interval": {name: [low, high]}}}, for "all" and
    for each level of each `differs`. Intervals draw families, products that
    pairs lead to from one another; None where there is but one.
  left_out: pairs without two listings of one product and one of the other.
  """

  groups: dict[str, dict[str, Any]]
  left_out: int

  def to_dict(self) -> dict[str, Any]:
    """Returns `groups`."""
    return self.groups

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each thing that differs and each export."""
    return [
      {
        "differs": differs,
        "pairs": group["pairs"],
        "questions": group["questions"],
        "export": name,
        "fraction": value,
        **dict(
          zip(
            ("low", "high"),
            group["interval"][name] or (None, None),
            strict=True,
          )
        ),
      }
      for differs, group in self.groups.items()
      for name, value in group["share"].items()
    ]

  def __str__(self) -> str:
    width = max(map(len, self.groups)) + 2
    names = self.groups[ALL]["share"]
    lines = [
      "how often a listing's own product is nearer than its variant: chance .5,"
      " in brackets the 95 % interval, where there are two families of products"
      f" or more; {self.left_out:,} pairs of the file left out (no two listings"
      " and one here)",
      f"{'differs':{width}}{'pairs':>7}{'asked':>8}  "
      + "".join(f"{name:<24}" for name in names).rstrip(),
    ]
    for differs, group in self.groups.items():
      cells = [
        with_interval(group["share"][name], group["interval"][name])
        for name in names
      ]
      lines.append(
        f"{differs:{width}}{group['pairs']:7,}{group['questions']:8,}  "
        + "".join(f"{cell:<24}" for cell in cells).rstrip()
      )
    return "\n".join(lines)


def compare_variants(
  exports: Mapping[str, Any],
  variants: Path,
  *,
  data: Any = None,
  split: str = "test",
  bootstrap: int = 1000,
  seed: int = 0,
) -> Variants:
  """Scores exports of the same rows on pairs of products.

  Args:
    exports: name -> export, FILE.npy:ITEMS.csv or what else `open_source`
      takes; the names head the table's columns.
    variants: a table's file with the columns product, variant and optionally
      differs.
    data: the prepared catalogue of "tfidf" and "thumbnail". split: of it.
    bootstrap: resamples (of families of products) for the intervals.
    seed: of the resamples.

  Raises:
    UserError: exports of different rows, or no pair that can be compared.
  """
  metrics.check_draws(seed=seed, bootstrap=bootstrap)
  opened = {
    name: open_source(what, data=data, split=split)
    for name, what in exports.items()
  }
  (first, export), *others = opened.items()
  items = export.items
  for name, other in others:
    check_same_rows(f"export {first}", items, f"export {name}", other.items)
  pairs, questions = open_questions(variants, items)
  values = {
    name: measure(one.vectors, items, questions) for name, one in opened.items()
  }
  groups = summarise(values, questions, resamples=bootstrap, seed=seed)
  return Variants(groups, len(pairs) - groups[ALL]["pairs"])


def open_questions(
  variants: Path, items: Items
) -> tuple[list[Pair], list[Question]]:
  """Reads pairs of products, and asks about those that `items` have.

  Raises:
    UserError: as `read_pairs`, or no pair can be compared.
  """
  pairs = read_pairs(variants)
  questions = make_questions(items, pairs)
  if not questions:
    raise UserError(
      f"{variants}: of none of its {len(pairs)} pairs are there two listings of"
      " one product and one of the other, among listings whose first product is"
      f" {items.products[0]!r}"
    )
  return pairs, questions


def read_pairs(path: Path) -> list[Pair]:
  """Reads a CSV with the columns product, variant and optionally differs.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  columns = read_columns(path, (("product",), ("variant",)), ("differs",))
  rows = len(columns[0])
  pairs: dict[frozenset, Pair] = {}
  for row, (product, variant, differs) in enumerate(
    zip(*(column or [""] * rows for column in columns), strict=True)
  ):
    # As a catalogue's columns are read.
    try:
      levels = to_path(differs).split(" > ")
      pair = Pair(
        to_text(product), to_text(variant), tuple(filter(None, levels))
      )
    except ValueError as error:
      raise UserError(f"{path}: row {row}: a cell {error}") from error
    if pair.differs[:1] == (ALL,):
      raise UserError(
        f"{path}: row {row} differs in {ALL!r}, which is all rows"
      )
    both = frozenset(pair[:2])
    if len(both) < 2 or "" in both:
      raise UserError(
        f"{path}: row {row} pairs {pair.product!r} with {pair.variant!r};"
        " expected two products"
      )
    if both in pairs:
      raise UserError(
        f"{path}: row {row} pairs {pair.product!r} and {pair.variant!r} a"
        " second time"
      )
    pairs[both] = pair
  return list(pairs.values())


def make_questions(items: Items, pairs: Sequence[Pair]) -> list[Question]:
  """Pairs each listing of either product with its own and with the variant."""
  held: dict[str, list[int]] = {}
  for row, product in enumerate(items.products):
    held.setdefault(product, []).append(row)
  rows = {product: np.array(found) for product, found in held.items()}
  none = np.array([], int)
  questions = []
  for pair in pairs:
    a, b = pair.product, pair.variant
    for one, variant in ((a, b), (b, a)):
      own, other = rows.get(one, none), rows.get(variant, none)
      if len(own) > 1 and len(other):
        questions += [
          Question(row, own[own != row], other, pair) for row in own
        ]
  return questions


def measure(
  vectors: np.ndarray | Mixed, items: Items, questions: Sequence[Question]
) -> np.ndarray:
  """Measures how often the own product is nearer, over all pairs of listings.

  A tie counts half. By cosine in float32, as the search ranks.

  Returns:
    float64 [Q], .5 for vectors that don't tell them apart.
  """
  if isinstance(vectors, Mixed):
    length_N = np.ones(len(vectors))  # they are, or zero
  else:
    length_N = lengths(vectors, items.ids)
  nearer_Q = np.empty(len(questions))
  for q, (row, own, other, _) in enumerate(questions):
    rows = np.concatenate([[row], own, other])
    unit_RD = np.asarray(to_dense(vectors, rows), float) / length_N[rows, None]
    # Row by row, so that equal vectors are equally near to the last bit.
    cosine_R = np.vecdot(unit_RD, unit_RD[0]).astype(np.float32)
    near, far = cosine_R[1 : len(own) + 1], np.sort(cosine_R[len(own) + 1 :])
    beaten = np.searchsorted(far, near, "left")
    not_above = np.searchsorted(far, near, "right")
    nearer_Q[q] = (beaten + not_above).mean() / (2 * len(far))
  return nearer_Q


def summarise(
  values: Mapping[str, np.ndarray],
  questions: Sequence[Question],
  *,
  resamples: int,
  seed: int,
) -> dict[str, dict]:
  """Means by what differs, as `Variants.groups`."""
  groups: dict[str, list[int]] = {ALL: list(range(len(questions)))}
  for at, question in enumerate(questions):
    levels = question.pair.differs
    for depth in range(len(levels)):
      groups.setdefault(" > ".join(levels[: depth + 1]), []).append(at)
  families = _families(questions)
  result = {}
  for differs in [ALL, *sorted(groups.keys() - {ALL})]:
    part = groups[differs]
    mine = {name: value_Q[part] for name, value_Q in values.items()}
    drawn = [families[at] for at in part]
    result[differs] = {
      "pairs": len({questions[at].pair for at in part}),
      "questions": len(part),
      "share": metrics.mean(mine),
      "interval": dict.fromkeys(mine),
    }
    if len(set(drawn)) > 1:
      result[differs]["interval"] = metrics.intervals(
        mine, drawn, resamples=resamples, seed=seed
      )
  return result


def _families(questions: Sequence[Question]) -> list[str]:
  """The family of each question's products: those that pairs connect.

  The questions of both products of a pair depend on the same cosines, and
  a product may be in several pairs: only families are independent.
  """
  leads: dict[str, str] = {}

  def head(product: str) -> str:
    while leads.setdefault(product, product) != product:
      leads[product] = leads[leads[product]]  # half the way for the next
      product = leads[product]
    return product

  for question in questions:
    leads[head(question.pair.product)] = head(question.pair.variant)
  return [head(question.pair.product) for question in questions]
