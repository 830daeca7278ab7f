"""Shows what each of several runs finds in each of several catalogues."""

from dataclasses import dataclass
from typing import Any

from item_jax.evaluation.changed import MEASURES
from item_jax.evaluation.results import Tables, with_interval
from item_jax.evaluation.retrieval import Scores


@dataclass(frozen=True, eq=False, repr=False)
class CrossDomain(Tables):
  """The scores of several systems on several catalogues.

  scores: {system: {catalogue: Scores}}; the baselines "tfidf" and "thumbnail"
  last. split: of each catalogue.
  """

  scores: dict[str, dict[str, Scores]]
  split: str

  def to_dict(self) -> dict[str, Any]:
    """Returns {system: {catalogue: `Scores.summary`}}."""
    return {
      system: {name: one.summary for name, one in found.items()}
      for system, found in self.scores.items()
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each system, catalogue and figure."""
    lines = []
    for system, found in self.scores.items():
      for catalogue, one in found.items():
        for name in MEASURES:
          low, high = one.summary["interval"].get(name, (None, None))
          value = {"value": one.summary[name], "low": low, "high": high}
          of = {"system": system, "catalogue": catalogue, "figure": name}
          lines.append(of | value)
    return lines

  def sentence(self) -> str:
    counts = ", ".join(
      f"{name} {one.summary['queries']:,} among {one.summary['index']:,}"
      for name, one in next(iter(self.scores.values())).items()
    )
    return (
      f"queries of the split {self.split}: {counts}; in brackets the 95 %"
      " interval"
    )

  def tables(self) -> list[tuple[str, list[dict[str, str]]]]:
    return [
      (
        f"{name} of each run (lines) in each catalogue (columns)",
        [
          {"run": system}
          | {
            catalogue: with_interval(
              one.summary[name], one.summary["interval"].get(name)
            )
            for catalogue, one in found.items()
          }
          for system, found in self.scores.items()
        ],
      )
      for name in MEASURES
    ]
