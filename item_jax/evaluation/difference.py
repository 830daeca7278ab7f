"""Compares two systems on the same queries (the paired bootstrap)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from item_jax.errors import UserError
from item_jax.evaluation import metrics
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

  Raises:
    UserError: they measured other things, or other queries.
  """
  ids = [
    None if one.items is None else [one.items.ids[r] for r in one.rows_Q]
    for one in (left, right)
  ]
  if ids[0] is None or ids[0] != ids[1]:
    raise UserError(
      f"{len(left.rows_Q)} queries against {len(right.rows_Q)}: expected"
      " scores of the same queries in the same order"
    )
  if left.values.keys() != right.values.keys():
    raise UserError(
      f"{', '.join(left.values)} against {', '.join(right.values)}: expected"
      " scores of the same measures"
    )
  assert left.items is not None  # so have both
  products = [left.items.products[row] for row in left.rows_Q]
  return Difference(
    metrics.compare(
      left.values, right.values, products, resamples=bootstrap, seed=seed
    )
  )
