"""Asks how finely embeddings tell products apart: exports and pairs of products
that differ in little in, how often a listing's own product is nearer out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics
from item_jax.evaluation.items import (
  Items,
  check_same_rows,
  open_export,
  read_columns,
)
from item_jax.evaluation.search import lengths
from item_jax.files import check_folders
from item_jax.ingest.readers.cells import to_path, to_text

ALL = "all"


class Pair(NamedTuple):
  """Two products that differ in one thing."""

  product: str
  variant: str
  differs: tuple[str, ...]  # a path, as ("photo", "form"); () where none says


class Asked(NamedTuple):
  """What a listing is asked: is its own product nearer than that variant?"""

  row: int
  own: np.ndarray  # rows of its product, itself left out
  other: np.ndarray  # rows of the variant
  pair: Pair


def compare_variants(
  exports: Mapping[str, Path],
  variants: Path,
  *,
  json_path: Path | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
) -> dict[str, dict]:
  """Scores exports of the same rows on pairs of products; prints the table.

  Args:
    exports: name -> export folder; the names head the table's columns.
    variants: CSV with the columns product, variant and optionally differs.
    json_path: file for the result, if any.
    bootstrap: resamples (of families of products) for the intervals.
    seed: of the resamples.

  Returns:
    {what differs: {"pairs": of products, "questions": listings asked,
    "share": {name: share}, "interval": {name: [low, high]}}}, for "all" and
    for each level of each `differs`. Families, products that pairs lead to
    from one another, are what intervals draw; None where there is but one.

  Raises:
    UserError: exports of different rows, or no pair that can be asked.
  """
  check_folders(json_path)
  if bootstrap < 1:
    raise UserError(f"{bootstrap} resamples; expected 1 or more")
  pairs = read_pairs(variants)
  opened = {name: open_export(folder) for name, folder in exports.items()}
  (first, (_, items)), *others = opened.items()
  for name, (_, theirs) in others:
    check_same_rows(f"export {first}", items, f"export {name}", theirs)
  asked = questions(items, pairs)
  if not asked:
    raise UserError(
      f"{variants}: of none of its {len(pairs)} pairs are there two listings of"
      " one product and one of the other in the exports, whose first product"
      f" is {items.products[0]!r}"
    )
  values = {
    name: answer(vectors_ND, items, asked)
    for name, (vectors_ND, _) in opened.items()
  }
  result = summarise(values, asked, resamples=bootstrap, seed=seed)
  print(table(result, left_out=len(pairs) - result[ALL]["pairs"]))
  if json_path:
    Path(json_path).write_text(json.dumps(result, indent=2) + "\n", "utf-8")
  return result


def read_pairs(path: Path) -> list[Pair]:
  """Reads a CSV with the columns product, variant and optionally differs.

  Raises:
    UserError: naming the row and what is wrong with it.
  """
  columns = read_columns(path, (("product",), ("variant",)), ("differs",))
  rows = len(columns[0])
  pairs: dict[frozenset, Pair] = {}
  for row, (product, variant, said) in enumerate(
    zip(*(column or [""] * rows for column in columns), strict=True)
  ):
    # As a catalogue's columns are read.
    try:
      levels = to_path(said).split(" > ")
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


def questions(items: Items, pairs: Sequence[Pair]) -> list[Asked]:
  """Each listing of either product, with another of its own and one of the
  variant to choose between."""
  held: dict[str, list[int]] = {}
  for row, product in enumerate(items.products):
    held.setdefault(product, []).append(row)
  rows = {product: np.array(found) for product, found in held.items()}
  none = np.array([], int)
  asked = []
  for pair in pairs:
    for one, variant in (pair[:2], pair[1::-1]):
      own, other = rows.get(one, none), rows.get(variant, none)
      if len(own) > 1 and len(other):
        asked += [Asked(row, own[own != row], other, pair) for row in own]
  return asked


def answer(
  vectors_ND: np.ndarray, items: Items, asked: Sequence[Asked]
) -> np.ndarray:
  """How often the own product is nearer, of all its listings against all of
  the variant's; a tie counts half. By cosine in float32, as the search ranks.

  Returns:
    float64 [Q], .5 for who can't tell.
  """
  length_N = lengths(vectors_ND, items.ids)

  def unit(rows):
    return np.asarray(vectors_ND[rows], float) / length_N[rows, None]

  share_Q = np.empty(len(asked))
  for at, (row, own, other, _) in enumerate(asked):
    (query_D,) = unit([row])
    # Row by row, so that equal vectors are equally near to the last bit.
    near = np.vecdot(unit(own), query_D).astype(np.float32)
    far = np.sort(np.vecdot(unit(other), query_D).astype(np.float32))
    beaten = np.searchsorted(far, near, "left")
    not_above = np.searchsorted(far, near, "right")
    share_Q[at] = (beaten + not_above).mean() / (2 * len(far))
  return share_Q


def summarise(
  values: Mapping[str, np.ndarray],
  asked: Sequence[Asked],
  *,
  resamples: int,
  seed: int,
) -> dict[str, dict]:
  """Means of the answers by what differs, as `compare_variants` returns."""
  groups: dict[str, list[int]] = {ALL: list(range(len(asked)))}
  for at, question in enumerate(asked):
    levels = question.pair.differs
    for depth in range(len(levels)):
      groups.setdefault(" > ".join(levels[: depth + 1]), []).append(at)
  families = _families(asked)
  result = {}
  for differs in [ALL, *sorted(groups.keys() - {ALL})]:
    part = groups[differs]
    mine = {name: value_Q[part] for name, value_Q in values.items()}
    drawn = [families[at] for at in part]
    result[differs] = {
      "pairs": len({asked[at].pair for at in part}),
      "questions": len(part),
      "share": metrics.mean(mine),
      "interval": dict.fromkeys(mine),
    }
    if len(set(drawn)) > 1:
      result[differs]["interval"] = metrics.intervals(
        mine, drawn, resamples=resamples, seed=seed
      )
  return result


def _families(asked: Sequence[Asked]) -> list[str]:
  """Of each question the family of its two products: those that pairs connect.

  The listings of either side of a pair are asked about the same cosines, and
  a product may be in several pairs: only families are independent.
  """
  leads: dict[str, str] = {}

  def head(product: str) -> str:
    while leads.setdefault(product, product) != product:
      leads[product] = leads[leads[product]]  # half the way for the next
      product = leads[product]
    return product

  for question in asked:
    leads[head(question.pair.product)] = head(question.pair.variant)
  return [head(question.pair.product) for question in asked]


def table(result: Mapping[str, dict], *, left_out: int) -> str:
  """The result for people: a line for each thing that differs."""
  width = max(map(len, result)) + 2
  names = result[ALL]["share"]
  lines = [
    f"how often a listing's own product is nearer than its variant: chance .5,"
    f" in brackets the 95 % interval, where there are two families of products"
    f" or more; {left_out:,} pairs of the file left out (no two listings and"
    " one here)",
    f"{'differs':{width}}{'pairs':>7}{'asked':>8}  "
    + "".join(f"{name:<24}" for name in names).rstrip(),
  ]
  for differs, one in result.items():
    cells = []
    for name in names:
      cell = f"{one['share'][name]:.4f}"
      if one["interval"][name]:
        low, high = one["interval"][name]
        cell += f" [{low:.4f}, {high:.4f}]"
      cells.append(cell)
    lines.append(
      f"{differs:{width}}{one['pairs']:7,}{one['questions']:8,}  "
      + "".join(f"{cell:<24}" for cell in cells).rstrip()
    )
  return "\n".join(lines)
