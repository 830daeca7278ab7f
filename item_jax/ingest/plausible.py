"""Finds products with more listings than a product can have.

Their id is a word for a missing id, or was cut by a spreadsheet.
"""

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
  """Limits of a product's size; who exceeds all three is too large."""

  listings: int
  fraction: float  # of all rows
  times: float  # the size that 90 % of the other products do not exceed


_USUAL = 0.9
_CHECKED = 30  # products, the largest ones
# On four real catalogues the largest product has 0.1 to 2.6 % of the rows.
_LIMITS = (_Limit(50, 0.1, 5), _Limit(1_000, 0.01, 50))
_PLACEHOLDER_LIMITS = (_Limit(10, 0.01, 3), _Limit(100, 0, 10))


class Outsized(NamedTuple):
  """The limits that a product exceeds: those of any id, of placeholders."""

  any_id: bool
  placeholder: bool

  def implausible(self, product: str, *, counted: bool) -> bool:
    """Whether no product with this id can be so large.

    Args:
      counted: whether ids count from 0, so that 0 is an ordinary id.
    """
    if self.any_id or not self.placeholder or (counted and product == "0"):
      return self.any_id
    return bool(_PLACEHOLDER.fullmatch(product))


def find_outsized(sizes: np.ndarray) -> dict[int, Outsized]:
  """Finds products that may be too large.

  Args:
    sizes: [P], the listings of each product.

  Returns:
    {index in `sizes`: the limits that it exceeds}, of the 30 largest.
  """
  order = np.argsort(-sizes, kind="stable")
  # The quantile among the other products, without one of the largest.
  usual = 1
  if len(sizes) > 1:
    usual = sizes[order[-1 - int(_USUAL * (len(sizes) - 2))]]
  total = sizes.sum()
  found = {}
  for at in order[:_CHECKED]:

    def exceeds(limit, size=sizes[at]):
      return (
        size >= limit.listings
        and size >= limit.fraction * total
        and size >= limit.times * usual
      )

    outsized = Outsized(
      any(map(exceeds, _LIMITS)), any(map(exceeds, _PLACEHOLDER_LIMITS))
    )
    if any(outsized):
      found[int(at)] = outsized
  return found
