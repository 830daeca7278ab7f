"""Computes the measures of same-product search, their means and intervals.

For a query, R is its relevant items in the index, h_i = 1 where rank i is one.
Recall is the fraction of R found, hit whether anything was; average precision
(AP) is the sum of precision@i over the hits, divided by |R|, as trec_eval
has it. The capped measures divide by what could be found at all, min(k, |R|).
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from item_jax.errors import check_whole

MEASURES = ("recall", "map", "capped_recall", "capped_map", "hit")


def measure(
  hits_QK: np.ndarray, relevant_Q: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
  """Computes every measure of every query.

  Args:
    hits_QK: bool, whether rank i is relevant; ranks missing at the end are
      misses.
    relevant_Q: |R|, at least 1.
    ks: depths; K reaches the largest, or the whole index.

  Returns:
    {"recall@k": float64 [Q], ...} for each of MEASURES and ks.
  """
  if (relevant_Q < 1).any():
    raise ValueError("a query without a relevant item has no recall")
  found_QK = np.cumsum(hits_QK, axis=1)
  rank_K = np.arange(1, hits_QK.shape[1] + 1)
  precision_QK = hits_QK * found_QK / rank_K
  values = {}
  for k in ks:
    found_Q = hits_QK[:, :k].sum(axis=1)
    precision_Q = precision_QK[:, :k].sum(axis=1)
    cap_Q = np.minimum(relevant_Q, min(k, sys.maxsize))  # numpy's largest
    values[f"recall@{k}"] = found_Q / relevant_Q
    values[f"map@{k}"] = precision_Q / relevant_Q
    values[f"capped_recall@{k}"] = found_Q / cap_Q
    values[f"capped_map@{k}"] = precision_Q / cap_Q
    values[f"hit@{k}"] = (found_Q > 0).astype(float)
  return values


def mean(values: dict[str, np.ndarray]) -> dict[str, float]:
  """Means over queries."""
  return {name: float(value_Q.mean()) for name, value_Q in values.items()}


def mean_by(
  values: dict[str, np.ndarray], group_Q: Sequence[str]
) -> dict[str, float]:
  """Means over groups of the means over each group's queries."""
  number_Q, size_G = number_groups(group_Q)
  return {
    name: float((np.bincount(number_Q, value_Q) / size_G).mean())
    for name, value_Q in values.items()
  }


def intervals(
  values: dict[str, np.ndarray],
  product_Q: Sequence[str],
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> dict[str, list[float]]:
  """95 % intervals of the means, by bootstrap over products.

  Products are drawn with replacement, each with all of its queries: queries
  of one product are no independent observations.

  Returns:
    {name: [low, high]}, the 2.5th and 97.5th percentiles; {} of no resamples.
  """
  if not resamples:
    return {}
  means_RM = resample(values, product_Q, resamples=resamples, seed=seed)
  return {name: interval(means_RM[:, m]) for m, name in enumerate(values)}


def check_draws(*, seed: Any, bootstrap: Any = 0) -> None:
  """Refuses a seed, or a number of resamples, that is no whole number from 0.

  Raises:
    UserError: it is none.
  """
  check_whole("seed", seed, at_least=0)
  check_whole("bootstrap", bootstrap, at_least=0)


def interval(drawn_R: np.ndarray) -> list[float]:
  """The 2.5th and 97.5th percentiles, as np.quantile gives them.

  np.quantile imports numpy.ma, which takes longer than a small evaluation.
  """
  drawn_R = np.sort(drawn_R)
  ends = []
  for fraction in (0.025, 0.975):
    low, part = divmod(fraction * (len(drawn_R) - 1), 1)
    below, above = drawn_R[[int(low), min(int(low) + 1, len(drawn_R) - 1)]]
    # From the nearer of the two, as numpy does it.
    if part < 0.5:
      ends.append(float(below + (above - below) * part))
    else:
      ends.append(float(above - (above - below) * (1 - part)))
  return ends


def compare(
  left: dict[str, np.ndarray],
  right: dict[str, np.ndarray],
  product_Q: Sequence[str],
  *,
  resamples: int = 1000,
  seed: int = 0,
) -> dict[str, dict]:
  """Compares two systems on the same queries by the paired bootstrap.

  Returns:
    {name: {"difference": left - right, "interval": [low, high], "p": two-sided
    fraction of resamples on the other side of zero, never below
    2/(resamples+1)}}
  """
  if left.keys() != right.keys():
    raise ValueError(f"measured {sorted(left)} against {sorted(right)}")
  if any(len(left[name]) != len(right[name]) for name in left):
    raise ValueError("the two systems searched different numbers of queries")
  apart = {name: left[name] - right[name] for name in left}
  means_RM = resample(apart, product_Q, resamples=resamples, seed=seed)
  return {
    name: describe_difference(float(apart[name].mean()), means_RM[:, m])
    for m, name in enumerate(apart)
  }


def describe_difference(difference: float, drawn_R: np.ndarray) -> dict:
  """A difference with its interval and p-value, as `compare` returns them."""
  tail = min((drawn_R <= 0).sum(), (drawn_R >= 0).sum())
  return {
    "difference": difference,
    "interval": interval(drawn_R),
    "p": min(1.0, 2 * (1 + int(tail)) / (len(drawn_R) + 1)),
  }


def own_names(products: Iterable[str]) -> list[str]:
  """Names each row's product; "" is a product of its own."""
  return [name or f"\n{row}" for row, name in enumerate(products)]


def number_groups(group_Q: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Each query's group as a number in the order of names, and their sizes."""
  names = {name: n for n, name in enumerate(sorted(set(group_Q)))}
  number_Q = np.array([names[name] for name in group_Q], np.int64)
  return number_Q, np.bincount(number_Q, minlength=len(names))


def resample(
  values: Mapping[Any, np.ndarray],
  product_Q: Sequence[str],
  *,
  resamples: int,
  seed: int,
) -> np.ndarray:
  """Means over queries of each resample of the products, [resamples, M].

  The columns are `values` in their order.
  """
  check_draws(seed=seed, bootstrap=resamples)
  number_Q, count_P = number_groups(product_Q)
  total_PM = np.stack(
    [np.bincount(number_Q, value_Q) for value_Q in values.values()], axis=1
  )
  products = len(count_P)
  random = np.random.default_rng(seed)
  means = []
  at_once = max(1, 2**21 // products)  # 16 MB of counts
  for first in range(0, resamples, at_once):
    lines = min(at_once, resamples - first)
    times_RP = np.empty((lines, products))
    for times_P in times_RP:
      drawn = random.integers(products, size=products)
      times_P[:] = np.bincount(drawn, minlength=products)
    means.append(times_RP @ total_PM / (times_RP @ count_P)[:, None])
  return np.concatenate(means)
