"""Says which row of a comparison to take, for what one has to give."""

from collections.abc import Mapping, Sequence
from typing import Any

from item_jax.comparison.score import Result
from item_jax.comparison.summary import mean_over_seeds
from item_jax.comparison.table import fraction
from item_jax.evaluation import metrics

# What a system may need, the least first, as tables show it.
NEEDS = ("weights", "product ids", "categories")
LABELS = NEEDS[1:]
KINDS = ("without training", "trained without labels", "trained with labels")
_SHOWN = {"both/recall@10": "recall@10", "both/map@10": "MAP@10"}


def kind_of(needs: Sequence[str], *, trained: bool) -> str:
  """Which of `KINDS` a system is, by what it needs."""
  if not trained:
    return KINDS[0]
  return KINDS[2] if set(LABELS) & set(needs) else KINDS[1]


def grouped(rows: Sequence[Mapping]) -> list[Mapping]:
  """Orders rows by the most that they need, and else leaves them in order."""
  return sorted(
    rows,
    key=lambda row: max((1 + NEEDS.index(x) for x in row["needs"]), default=0),
  )


def choose(
  rows: Sequence[Mapping],
  results: Mapping[str, Mapping[int, Result]],
  *,
  resamples: int = 1000,
) -> list[dict[str, Any]]:
  """Takes of each kind the row with the best MAP@10 on validation.

  Of equal ones the first. What an earlier version scored has none, and is left
  out.

  Args:
    rows: as `item_jax.comparison.summary.make_rows` returns them.
    results: {system: {seed: Result}} of what is finished.
    resamples: of the bootstrap.

  Returns:
    [{"kind", "system", "needs", "validation": MAP@10 there, "test": {"both/
    recall@10" and "both/map@10": {"mean", "interval"}}}], at most one a kind.
  """
  found = []
  for kind in KINDS:
    known = [r for r in rows if r["group"] == kind and r["validation"]]
    if not known:
      continue
    row = max(known, key=lambda one: one["validation"]["mean"])
    test = {}
    for name in _SHOWN:
      held = mean_over_seeds(results[row["system"]], name)
      if held is not None:
        value_Q, product_Q = held
        drawn = metrics.intervals(
          {name: value_Q}, product_Q.tolist(), resamples=resamples
        )
        test[name] = {"mean": float(value_Q.mean()), "interval": drawn[name]}
    found.append(
      {
        "kind": kind,
        "system": row["system"],
        "needs": row["needs"],
        "validation": row["validation"]["mean"],
        "test": test,
      }
    )
  return found


def sentence(chosen: Sequence[Mapping], split: str) -> str:
  """Says what `choose` has chosen; "" where that is nothing."""
  if not chosen:
    return ""
  parts = []
  for one in chosen:
    shown = [
      f"{_SHOWN[name]} {fraction(cell['mean'])}"
      f" [{', '.join(map(fraction, cell['interval']))}]"
      for name, cell in one["test"].items()
    ]
    parts.append(
      f"{one['kind']} {one['system']}, which needs {spell(one['needs'])}"
      f" ({', '.join(shown)})"
    )
  return (
    f"Which row to take, by MAP@10 on validation, with its figures on {split}"
    f" and their 95 % interval: {'; '.join(parts)}."
  )


def spell(needs: Sequence[str]) -> str:
  """Joins what is needed, or says that it is nothing."""
  return " and ".join(needs) or "nothing"
