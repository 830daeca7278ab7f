"""Computes chance-level losses: those of a model that looks at nothing.

A curve that stays at its chance level has learnt nothing from the pair.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def match_chance(
  rows: Sequence[tuple[Hashable, Hashable, bool]],
  *,
  negative_rate: float,
  batch_size: int,
) -> float:
  """Entropy in nats of whether a pair matches, given how many do not.

  A batch has a whole number of negatives, and a pair to which no other row of
  it can give a title stays a match.

  Args:
    rows: (product, title, whether there is an image) of a sample of all rows;
      title None where there is none.
  """
  titled = [(product, title) for product, title, _ in rows if title is not None]
  pairs = [row[:2] for row in rows if row[1] is not None and row[2]]
  if not pairs:
    return 0.0
  products, titles = (Counter(keys) for keys in zip(*titled, strict=True))
  both = Counter(titled)
  donors_N = [
    len(titled) - products[pair[0]] - titles[pair[1]] + both[pair]
    for pair in pairs
  ]
  none_N = (1 - np.array(donors_N) / max(len(rows) - 1, 1)) ** (batch_size - 1)
  fraction = len(pairs) / len(rows)
  pairs_M = np.random.default_rng(0).binomial(batch_size, fraction, 4_096)
  chosen_M = np.round(pairs_M.astype(np.float32) * np.float32(negative_rate))
  rate = chosen_M.sum() / max(pairs_M.sum(), 1) * (1 - none_N.mean())
  return category_chance([rate, 1 - rate])


def rival_chance(
  rows: Sequence[tuple[Hashable, Hashable]], *, fraction: float, batch_size: int
) -> float:
  """ln of how many rows of a batch a row is compared with, itself included.

  Args:
    rows: (product, title) of a sample of rows that take part; title None where
      there is none. Those with one product or one title are no negatives.
    fraction: of all rows, that takes part.
  """

  def pairs(keys) -> int:
    return sum(n * (n - 1) for n in Counter(keys).values())

  titled = [row for row in rows if row[1] is not None]
  alike = (
    pairs(product for product, _ in rows)
    + pairs(title for _, title in titled)
    - pairs(titled)  # those with both in common
  )
  apart = 1 - alike / max(len(rows) * (len(rows) - 1), 1)
  return math.log(1 + (batch_size - 1) * fraction * apart)


def token_chance(tokens_NT: np.ndarray, special_ids: tuple[int, ...]) -> float:
  """Entropy in nats of an ordinary token given its position alone.

  Each position's plug-in entropy carries the Miller-Madow correction
  (m - 1) / 2n, for a sample of n tokens understates it.
  """
  tokens_NT = np.asarray(tokens_NT)
  ordinary_NT = ~np.isin(tokens_NT, special_ids)
  total, count = 0.0, 0
  for t in range(tokens_NT.shape[1]):
    tokens = tokens_NT[ordinary_NT[:, t], t]
    n = len(tokens)
    if not n:
      continue
    times = np.unique(tokens, return_counts=True)[1]
    entropy = math.log(n) - float((times * np.log(times)).sum()) / n
    total += n * entropy + (len(times) - 1) / 2
    count += n
  return total / count if count else 0.0


def pixel_chance(patches_MNP: np.ndarray) -> float:
  """Mean squared error of the mean patch of each position, over M images.

  The mean of the same M images is closer to them than to others, by
  (M - 1) / M; this is corrected for that.
  """
  patches_MNP = np.asarray(patches_MNP, np.float32)
  M = len(patches_MNP)
  if M < 2:
    return 0.0
  return float(patches_MNP.var(axis=0, dtype=np.float64).mean()) * M / (M - 1)


def category_chance(times_C) -> float:
  """Entropy in nats of a row's class, given how often each class occurs."""
  times_C = np.asarray(times_C, np.float64)
  p_C = times_C[times_C > 0] / max(times_C.sum(), 1)
  return float(0 - (p_C * np.log(p_C)).sum())  # of one class 0, and not -0
