"""Summarises results: means and spreads over seeds, paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from item_jax.comparison.score import CLASSES, COMPARED, VALIDATION, Result
from item_jax.evaluation import labels, metrics

# The measures of a row in the order of the tables, and their headings.
HEADINGS = {
  "both/recall@10": "recall@10",
  "both/map@10": "MAP@10",
  "image/recall@10": "image recall@10",
  "image/map@10": "image MAP@10",
  "title/recall@10": "title recall@10",
  "title/map@10": "title MAP@10",
  "gap": "gap",
  "category/accuracy": "category",
  "category/macro_f1": "macro-F1",
  "own/accuracy": "own category",
  "own/macro_f1": "own macro-F1",
}


def make_rows(
  results: Mapping[str, Mapping[int, Result]],
  facts: Mapping[str, Mapping[str, Any]],
  *,
  base: str,
  resamples: int = 1000,
) -> list[dict[str, Any]]:
  """Summarises each system over its seeds and compares it with the base.

  Args:
    results: {system: {seed: Result}} of what is finished.
    facts: {system: {"kind", "seeds": how many there should be, "needs",
      "group", "parameters", "train_flops", "seconds": {seed: ...}}}.
    base: the system that is subtracted in the differences.
    resamples: of the bootstrap.

  Returns:
    One row per system, in the order of `results`: [{"system", "kind",
    "needs": some of `headline.NEEDS`, "group": of `headline.KINDS`, "seeds":
    those that are finished, "missing": how many are not, "cells": {measure:
    {"mean", "std", "min", "max", "values"}}, "validation": MAP@10 there, as a
    cell, "against": {measure: {"difference", "interval", "p"}}, "parameters",
    "train_flops", "seconds": as a cell, "counts"}]
  """
  macro_f1 = {
    system: _draw_macro_f1(by_seed, resamples)
    for system, by_seed in results.items()
  }
  rows = []
  for system, by_seed in results.items():
    known = facts[system]
    seeds = sorted(by_seed)
    against = {}
    if system != base and seeds and results.get(base):
      against = paired_differences(by_seed, results[base], resamples=resamples)
      ours, theirs = macro_f1[system], macro_f1[base]
      if ours is not None and theirs is not None:
        # Both were drawn with the same products.
        against["category/macro_f1"] = metrics.describe_difference(
          ours[0] - theirs[0], ours[1] - theirs[1]
        )
    rows.append(
      {
        "system": system,
        "kind": known["kind"],
        "needs": known["needs"],
        "group": known["group"],
        "seeds": seeds,
        "missing": known["seeds"] - len(seeds),
        "cells": _cells([by_seed[seed] for seed in seeds]),
        "validation": spread(_validation(by_seed)),
        "against": against,
        "parameters": known.get("parameters"),
        "train_flops": known.get("train_flops"),
        "seconds": spread(list(known.get("seconds", {}).values())),
        "counts": [by_seed[seed].counts for seed in seeds],
      }
    )
  return rows


def spread(values: Sequence[float]) -> dict[str, Any] | None:
  """Mean, sample standard deviation (None of one value), extremes."""
  if not values:
    return None
  return {
    "mean": float(np.mean(values)),
    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    "min": float(min(values)),
    "max": float(max(values)),
    "values": [float(value) for value in values],
  }


def _cells(results: Sequence[Result]) -> dict[str, Any]:
  """Each measure over the seeds that have it."""
  values = {
    name: [r.cells[name] for r in results if name in r.cells]
    for name in HEADINGS
  }
  return {name: spread(held) for name, held in values.items() if held}


def _validation(results: Mapping[int, Result]) -> list[float]:
  """MAP@10 on validation; nothing of a seed that an earlier version scored."""
  held = (results[seed].counts.get(VALIDATION) for seed in sorted(results))
  return [value for value in held if value is not None]


def paired_differences(
  ours: Mapping[int, Result],
  theirs: Mapping[int, Result],
  *,
  resamples: int = 1000,
) -> dict[str, dict[str, Any]]:
  """Subtracts theirs from ours, with a paired bootstrap over products.

  Each query's value is the mean over a system's seeds, taken first: seeds are
  no independent queries. So the interval is about the queries that might have
  been drawn, not about the seeds; `spread` is about those.

  Returns:
    {measure: {"difference", "interval", "p"}} of what both have.

  Raises:
    ValueError: the two were scored on different queries.
  """
  groups = {}  # measures of the same queries are drawn together
  for name in COMPARED:
    left, right = mean_over_seeds(ours, name), mean_over_seeds(theirs, name)
    if left is None or right is None:
      continue
    (left_Q, product_Q), (right_Q, other_Q) = left, right
    if not np.array_equal(product_Q, other_Q):
      raise ValueError(f"{name}: the two systems have different queries")
    _, lefts, rights = groups.setdefault(
      product_Q.tobytes(), (product_Q, {}, {})
    )
    lefts[name], rights[name] = left_Q, right_Q
  found = {}
  for product_Q, lefts, rights in groups.values():
    found |= metrics.compare(lefts, rights, product_Q, resamples=resamples)
  return found


def mean_over_seeds(
  results: Mapping[int, Result], name: str
) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns means of each query's values, and products; None without any."""
  held = [r.values for r in results.values() if name in r.values]
  if not held:
    return None
  return np.mean([v[name] for v in held], axis=0), held[0][f"{name}:product"]


def _draw_macro_f1(
  results: Mapping[int, Result], resamples: int
) -> tuple[float, np.ndarray] | None:
  """(macro-F1, the same in each resample of the products), means over seeds.

  None where the predictions for each listing are not known.
  """
  held = [r for r in results.values() if CLASSES in r.values]
  if not held:
    return None
  drawn_SR = [
    labels.draw_macro_f1(
      labels.compare_labels(*r.values[CLASSES].tolist()),
      r.values["category/accuracy:product"].tolist(),
      resamples=resamples,
    )
    for r in held
  ]
  mean = np.mean([r.cells["category/macro_f1"] for r in held])
  return float(mean), np.mean(drawn_SR, axis=0)
