"""Scores vectors of several systems joined, with weights of validation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from item_jax.comparison import files, score
from item_jax.comparison.score import Category, Result
from item_jax.evaluation import retrieval
from item_jax.evaluation.fusion import fuse
from item_jax.evaluation.fusion_tuning import open_parts, transformed
from item_jax.evaluation.items import has_pairs
from item_jax.evaluation.join import join
from item_jax.evaluation.sources import Source
from item_jax.files import write_json

_REQUEST_FILE = "joined.json"


def write_request(
  folder: Path,
  parts: Mapping[str, Sequence[str]],
  *,
  data: Path,
  classified: bool,
  modality: str | None,
) -> None:
  """Writes what `score_request` is to score.

  Args:
    parts: {split: exports or names of baselines}, the same in each, of
      training, of validation and of the scored one.
    data: the prepared catalogue.
    classified: whether the catalogue has categories to tell apart.
    modality: "image" or "title" where all parts see only that one.
  """
  request = {
    "parts": [[split, list(names)] for split, names in parts.items()],
    "data": str(data),
    "category": classified,
    "side": modality,
  }
  write_json(folder / _REQUEST_FILE, request)


def score_request(
  folder: Path, classify: Callable[..., Category] | None = None
) -> None:
  """Joins and scores what `write_request` wrote, and writes the result.

  Nothing but the result is written: `item-jax fuse` makes the vectors.

  Args:
    classify: what learns the category from sources; default: `score.probe`.
  """
  classify = classify or score.probe
  request = files.read_json(folder / _REQUEST_FILE)
  train, val, test = (
    open_parts(names, data=request["data"], split=split)
    for split, names in request["parts"]
  )
  # Without pairs to choose by the weights are even.
  paired = has_pairs(val[0].items.products)
  tune_on, fit_on = (val, train) if paired else (None, None)
  fused = fuse(*test, tune_on=tune_on, fit_on=fit_on)
  counts = {
    "weights": list(fused.weights),
    "transforms": [str(one) for one in fused.transforms],
  }
  if fused.tried:
    counts[score.VALIDATION] = max(fused.tried.values())
  result = Result({}, counts, {})
  if has_pairs(fused.items.products):
    scored = retrieval.score(fused, bootstrap=0)
    score.add_search(result, ("both", request["side"]), scored, fused.items)
  if request["category"]:

    def joined(parts: Sequence[Source]) -> Source:
      made = join(transformed(parts, fused.transforms), fused.weights)
      return Source(parts[0].name, made, parts[0].items)

    rows = joined(train), joined(val), fused.as_source()
    score.add_category(result, "category", lambda: classify(*rows), fused.items)
  score.write(folder, result)
