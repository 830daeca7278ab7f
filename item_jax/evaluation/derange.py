"""Draws for each listing a listing of another product, each of them once."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import metrics


def derange(products: Sequence[str], *, seed: int = 0) -> np.ndarray:
  """Draws a permutation that gives no listing one of its own product.

  As every listing is given away once, what is given has the same distribution
  as what is there.

  Args:
    products: of N listings; "" is a product of its own.
    seed: of the draw.

  Returns:
    int64 [N]: listing i is given what listing `donors[i]` has.

  Raises:
    UserError: there is no such permutation: one product has more than half of
      the listings.
  """
  names = metrics.own_names(products)
  N = len(names)
  held = Counter(names)
  largest, most = held.most_common(1)[0] if held else ("", 0)
  if len(held) < 2 or 2 * most > N:
    whose = f"{N}, of {len(held)} products"
    if len(held) > 1:
      whose += f", of which {largest.strip()!r} alone has {most}"
    raise UserError(
      f"listings with an image and a title: {whose}; to give each the title or"
      " the image of another product there must be two products or more, and"
      " none with more than half of the listings"
    )
  random = np.random.default_rng(seed)
  # Products in a random order, each in one piece: from `most` places on the
  # piece is left, and N - most is as far as the other way round.
  lot = dict(zip(held, random.permutation(len(held)).tolist(), strict=True))
  lot_N = np.array([lot[name] for name in names])
  order_N = np.lexsort((random.random(N), lot_N))
  donors_N = np.empty(N, np.int64)
  donors_N[order_N] = np.roll(
    order_N, -int(random.integers(most, N - most + 1))
  )
  return donors_N
