"""Scores what learns nothing: TF-IDF of titles, thumbnails of images."""

from collections.abc import Sequence
from pathlib import Path

from item_jax.comparison import score
from item_jax.data.records import Dataset
from item_jax.evaluation import baselines, retrieval
from item_jax.evaluation.items import has_pairs
from item_jax.evaluation.labelled import Rows
from item_jax.evaluation.mixed import reduce
from item_jax.evaluation.vectors import all_same


def score_baseline(
  folder: Path, kind: str, store: Dataset, splits: Sequence[str]
) -> None:
  """Scores "tfidf" or "thumbnail" and writes the result to `folder`.

  Args:
    splits: that of validation and the scored one, before them that of
      training where there are categories to learn; or the scored one only.
  """
  if kind == "tfidf":
    modality, value = "title", baselines.title
    vectors = baselines.tfidf_vectors
  else:
    modality, value = "image", baselines.small_image
    vectors = baselines.colours
  read = [baselines.read(store, split, value) for split in splits]
  items, (values,) = read[-1]
  result = score.Result({}, {}, {})
  # Where all listings show the same, ids alone would rank them.
  rows = vectors(values)
  if has_pairs(items.products) and not all_same(rows):
    scored = retrieval.score(rows, items, bootstrap=0)
    score.add_search(result, ("both", modality), scored, items)
  if len(splits) > 1:
    known, (held,) = read[-2]
    if not all_same(rows := vectors(held)):
      score.add_validation(result, rows, known)
  if len(splits) > 2:
    # Each split by its own statistics, as `item-jax probe` takes them.
    made = reduce(*(vectors(held) for _, (held,) in read))
    parts = [
      Rows(part_ND, part.categories or [], part.ids, part.products)
      for part_ND, (part, _) in zip(made, read, strict=True)
    ]
    score.add_category(result, "category", lambda: score.probe(*parts), items)
  score.write(folder, result)
