"""Compares two systems on the same queries (the paired bootstrap)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from item_jax.errors import UserError, check_whole
from item_jax.evaluation import metrics
from item_jax.evaluation.items import Items
from item_jax.evaluation.results import Result, aligned

if TYPE_CHECKING:
  from item_jax.evaluation.retrieval import Scores


@dataclass(frozen=True, eq=False, repr=False)
class Difference(Result):
  """How much more one system finds than another.

  measured: {measure: {"difference", "interval" (95 %), "p"}}, as
  `metrics.compare` returns it.
  """

  measured: dict[str, dict[str, Any]]

  def to_dict(self) -> dict[str, Any]:
    """Returns `measured`."""
    return self.measured

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each measure."""
    return [
      {
        "measure": name,
        "difference": one["difference"],
        "low": one["interval"][0],
        "high": one["interval"][1],
        "p": one["p"],
      }
      for name, one in self.measured.items()
    ]

  def __str__(self) -> str:
    lines = [["", "difference", "95 % interval", "p"]]
    for row in self.rows():
      interval = f"{row['low']:+.4f}..{row['high']:+.4f}"
      difference = f"{row['difference']:+.4f}"
      lines.append([row["measure"], difference, interval, f"{row['p']:.3f}"])
    return aligned(lines)


def compare(
  left: "Scores", right: "Scores", *, bootstrap: int = 1000, seed: int = 0
) -> Difference:
  """Compares two systems; of each measure `left` less `right`.

  What the index holds of its listings may differ: images, titles, or other
  vectors of theirs. Which listings are searched may not, for in fewer of them
  all is found more easily, and no system is better for it.

  Raises:
    UserError: they measured other things, other queries, or searched other
      listings, or there is no resample.
  """
  check_whole("bootstrap", bootstrap, at_least=1)
  if type(left) is not type(right):
    raise UserError(
      f"scores against a {type(right).__name__}: expected scores of two systems"
    )
  asked = [[x.items.ids[row] for row in x.rows_Q] for x in (left, right)]
  if asked[0] != asked[1]:
    raise UserError(
      f"{len(left.rows_Q)} queries against {len(right.rows_Q)}: expected"
      " scores of the same queries in the same order"
    )
  _check_same_index(left.items, right.items)
  if left.products != right.products:  # of queries that no index holds
    raise UserError(
      "the queries are of other products: expected scores of the same queries"
      " of the same products"
    )
  if left.values.keys() != right.values.keys():
    raise UserError(
      f"{', '.join(left.values)} against {', '.join(right.values)}: expected"
      " scores of the same measures"
    )
  return Difference(
    metrics.compare(
      left.values,
      right.values,
      left.products,
      resamples=bootstrap,
      seed=seed,
    )
  )


def _check_same_index(left: Items, right: Items) -> None:
  """Refuses other listings, or listings of other products, in the indexes."""
  searched = [
    {one.ids[row]: one.products[row] for row in one.rows("index").tolist()}
    for one in (left, right)
  ]
  odd = [
    name
    for name in dict.fromkeys([*searched[0], *searched[1]])
    if searched[0].get(name) != searched[1].get(name)
  ]
  if not odd:
    return
  of = ["-" if x.get(odd[0]) is None else repr(x[odd[0]]) for x in searched]
  raise UserError(
    f"the indexes, of {len(searched[0]):,} and {len(searched[1]):,} listings,"
    f" differ in {len(odd):,}: listing {odd[0]!r} is of the product {of[0]} in"
    f" one and {of[1]} in the other (-: it is not searched); expected the same"
    " listings of the same products"
  )
