"""Tells products that hold more listings than a product can have: their id is
a word for a missing one, or was cut by a spreadsheet."""

import re
from typing import NamedTuple

import numpy as np

# Ids that programs and people write where they have none.
_PLACEHOLDER = re.compile(
  r"0+|([0-9x])\1{3,}|[x?*.#_-]+|-1|un(known|defined|bekannt)|missing|default|others?|tb[ad]"
  r"|todo|test|dummy|empty|blank|no|not[ _]available|ohne|keine",
  re.IGNORECASE,
)


class _Limit(NamedTuple):
  """A product is too large that exceeds all three."""

  listings: int
  share: float  # of all rows
  times: float  # as large as 90 % of the other products


_USUAL = 0.9
_LOOKED_AT = 30
# On four real catalogues the largest product has 0.1 to 2.6 % of the rows.
_LIMITS = (_Limit(50, 0.1, 5), _Limit(1_000, 0.01, 50))
_PLACEHOLDER_LIMITS = (_Limit(10, 0.01, 3), _Limit(100, 0, 10))


class Outsized(NamedTuple):
  """By which limits a product is too large."""

  any_id: bool
  placeholder: bool

  def implausible(self, product: str, *, counted: bool) -> bool:
    """Whether a product of this id cannot be so large.

    Args:
      counted: whether ids count from 0, so that 0 is one like any other.
    """
    if self.any_id or not self.placeholder or (counted and product == "0"):
      return self.any_id
    return bool(_PLACEHOLDER.fullmatch(product))


def find_outsized(sizes: np.ndarray) -> dict[int, Outsized]:
  """Finds what may be too large.

  Args:
    sizes: [P], the listings of each product.

  Returns:
    {place in `sizes`: the limits that it exceeds}, at most 30 places.
  """
  order = np.argsort(-sizes, kind="stable")
  # Of the others: without one of the largest, the smaller ones keep places.
  usual = 1
  if len(sizes) > 1:
    usual = sizes[order[-1 - int(_USUAL * (len(sizes) - 2))]]
  total = sizes.sum()
  found = {}
  for at in order[:_LOOKED_AT]:

    def exceeds(limit, size=sizes[at]):
      return (
        size >= limit.listings
        and size >= limit.share * total
        and size >= limit.times * usual
      )

    outsized = Outsized(
      any(map(exceeds, _LIMITS)), any(map(exceeds, _PLACEHOLDER_LIMITS))
    )
    if any(outsized):
      found[int(at)] = outsized
  return found
