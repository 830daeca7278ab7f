"""Results of every system and seed in; rows with means, spreads and
differences out."""

from collections.abc import Mapping, Sequence

import numpy as np

from item_jax.comparison.score import CLASSES, COMPARED, Result
from item_jax.evaluation import labels, metrics

CELLS = (
  "both/recall@10",
  "both/map@10",
  "image/recall@10",
  "image/map@10",
  "title/recall@10",
  "title/map@10",
  "gap",
  "category/accuracy",
  "category/macro_f1",
  "own/accuracy",
  "own/macro_f1",
)


def make_rows(
  results: Mapping[str, Mapping[int, Result]],
  facts: Mapping[str, Mapping],
  *,
  base: str,
  resamples: int = 1000,
) -> list[dict]:
  """One row a system, in the order of `results`.

  Args:
    results: {system: {seed: Result}}; seeds that are missing are not there.
    facts: {system: {"kind", "seeds": how many there should be, "parameters",
      "train_flops", "seconds": {seed: ...}}}.
    base: the system the others are held against; differences are theirs less
      its.

  Returns:
    [{"system", "seeds": those there are, "missing": how many are not,
    "cells": {name: {"mean", "std", "min", "max", "values"}}, "against":
    {name: {"difference", "interval", "p"}}, "parameters", "train_flops",
    "seconds": as a cell, "counts"}]
  """
  rows = []
  macro_f1 = {
    system: _draw_macro_f1(by_seed, resamples)
    for system, by_seed in results.items()
  }
  for system, by_seed in results.items():
    known = facts[system]
    seeds = sorted(by_seed)
    against = {}
    if system != base and seeds and results.get(base):
      against = hold_against(by_seed, results[base], resamples=resamples)
      against |= _macro_f1_apart(macro_f1[system], macro_f1[base])
    rows.append(
      {
        "system": system,
        "kind": known["kind"],
        "seeds": seeds,
        "missing": known["seeds"] - len(seeds),
        "cells": _cells([by_seed[seed] for seed in seeds]),
        "against": against,
        "parameters": known.get("parameters"),
        "train_flops": known.get("train_flops"),
        "seconds": spread(list(known.get("seconds", {}).values())),
        "counts": [by_seed[seed].counts for seed in seeds],
      }
    )
  return rows


def spread(values: Sequence[float]) -> dict | None:
  """Mean, sample standard deviation (None of one value), ends."""
  if not values:
    return None
  return {
    "mean": float(np.mean(values)),
    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    "min": float(min(values)),
    "max": float(max(values)),
    "values": [float(value) for value in values],
  }


def _cells(results: Sequence[Result]) -> dict:
  """Each cell over the seeds that have it."""
  found = {}
  for result in results:
    for name, value in result.cells.items():
      found.setdefault(name, []).append(value)
  return {name: spread(found[name]) for name in CELLS if name in found}


def hold_against(
  ours: Mapping[int, Result],
  theirs: Mapping[int, Result],
  *,
  resamples: int = 1000,
) -> dict[str, dict]:
  """Ours less theirs, by the paired bootstrap over products.

  Each query's value is the mean over a system's seeds, taken first: seeds are
  no independent queries. So the interval is of the queries one could have
  drawn, not of the seeds; those are in the spread.

  Raises:
    ValueError: the two did not answer the same queries.
  """
  asked = {}  # measures of the same queries are drawn together
  for name in COMPARED:
    left, product_Q = _mean_over_seeds(ours, name)
    right, other_Q = _mean_over_seeds(theirs, name)
    if left is None or right is None:
      continue
    if not np.array_equal(product_Q, other_Q):
      raise ValueError(f"{name}: the two systems answered different queries")
    _, lefts, rights = asked.setdefault(
      product_Q.tobytes(), (product_Q, {}, {})
    )
    lefts[name], rights[name] = left, right
  found = {}
  for product_Q, lefts, rights in asked.values():
    found |= metrics.compare(lefts, rights, product_Q, resamples=resamples)
  return found


def _mean_over_seeds(results: Mapping[int, Result], name: str):
  """(mean of each query's values, products), or two None."""
  held = [r.values for r in results.values() if name in r.values]
  if not held:
    return None, None
  return np.mean([v[name] for v in held], axis=0), held[0][f"{name}:product"]


def _draw_macro_f1(results: Mapping[int, Result], resamples: int):
  """(macro-F1, the same in each resample of the products), means over seeds.

  None where it is not known listing by listing.
  """
  held = [r for r in results.values() if CLASSES in r.values]
  if not held:
    return None
  drawn_SR = [
    labels.draw_macro_f1(
      labels.compare_labels(*r.values[CLASSES].tolist()),
      r.values["category/accuracy:product"],
      resamples=resamples,
    )
    for r in held
  ]
  mean = np.mean([r.cells["category/macro_f1"] for r in held])
  return float(mean), np.mean(drawn_SR, axis=0)


def _macro_f1_apart(ours, theirs) -> dict[str, dict]:
  """As `hold_against`: both were drawn with the same products."""
  if ours is None or theirs is None:
    return {}
  apart = metrics.describe_difference(ours[0] - theirs[0], ours[1] - theirs[1])
  return {"category/macro_f1": apart}
