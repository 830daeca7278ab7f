"""Compares exports of one split with each other and with the baselines."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation import baselines
from item_jax.evaluation.items import check_same_rows
from item_jax.evaluation.results import Result, with_interval
from item_jax.evaluation.retrieval import Scores, score
from item_jax.evaluation.sources import open_source

_SHOWN = ("recall", "map")


@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
  """The scores of several systems on the same rows.

  scores: {name: Scores}, "tfidf" and "thumbnail" last. k: the depths.
  """

  scores: dict[str, Scores]
  k: Sequence[int]

  @property
  def _measures(self) -> list[str]:
    return [f"{name}@{k}" for k in sorted(set(self.k)) for name in _SHOWN]

  def to_dict(self) -> dict[str, dict[str, float]]:
    """Returns {name: {"recall@k": ..., "map@k": ...}}."""
    return {
      name: {measure: one.summary[measure] for measure in self._measures}
      for name, one in self.scores.items()
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each system."""
    return [
      {"system": name, **measures} for name, measures in self.to_dict().items()
    ]

  def __str__(self) -> str:
    width = max(len(name) for name in self.scores) + 2
    first = next(iter(self.scores.values())).summary
    lines = [
      f"{first['queries']:,} queries, {first['left_out']:,} left out, index"
      f" {first['index']:,}, {first['share_over_k']:.1%} with more than"
      f" {max(self.k)} relevant items; in brackets the 95 % interval",
      " " * width + "".join(f"{x:<26}" for x in self._measures).rstrip(),
    ]
    for name, one in self.scores.items():
      cells = [
        with_interval(one.summary[x], one.summary["interval"].get(x))
        for x in self._measures
      ]
      lines.append(
        f"{name:<{width}}" + "".join(f"{cell:<26}" for cell in cells).rstrip()
      )
    lines += [
      f"{name}: {one.space}" for name, one in self.scores.items() if one.space
    ]
    return "\n".join(lines)


def report(
  data: str | os.PathLike,
  split: str,
  exports: Mapping[str, Any],
  *,
  k: Sequence[int] = (10,),
  bootstrap: int = 1000,
  seed: int = 0,
) -> Report:
  """Scores exports and the baselines on the same rows.

  Args:
    data: a prepared catalogue.
    split: the split that was exported.
    exports: name -> export, FILE.npy:ITEMS.csv or what else `open_source`
      takes; the names head the table's lines.
    k: depths of the measures.
    bootstrap: resamples for the intervals.
    seed: of the resamples.

  Raises:
    UserError: an export's rows are not those of the split.
  """
  taken = {"tfidf", "thumbnail"} & set(exports)
  if taken:
    raise UserError(f"{', '.join(sorted(taken))}: names of the baselines")
  dataset = open_dataset(data)
  opened = {
    name: open_source(what, data=dataset, split=split)
    for name, what in exports.items()
  }
  items, (titles, thumbnails) = baselines.read(
    dataset, split, baselines.title, baselines.small_image
  )
  for name, source in opened.items():
    check_same_rows(
      f"export {name} ({source.name})",
      source.items,
      f"split {split!r}",
      items,
    )
  how = {"k": k, "bootstrap": bootstrap, "seed": seed}
  scores = {
    name: replace(score(source.vectors, items, **how), space=source.space)
    for name, source in opened.items()
  }
  scores["tfidf"] = baselines.score_titles(titles, items, **how)
  scores["thumbnail"] = baselines.score_images(thumbnails, items, **how)
  return Report(scores, k)
