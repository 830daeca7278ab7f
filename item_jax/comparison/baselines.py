"""Scores what learns nothing: TF-IDF of titles, thumbnails of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.comparison import score
from item_jax.data.records import Dataset
from item_jax.evaluation import baselines
from item_jax.evaluation.labelled import Rows

# Dimensions of the title vectors for the classifier: as wide as an embedding.
# The search is over the word counts themselves.
_DIMENSIONS = 256


def score_baseline(
  folder: Path, kind: str, store: Dataset, splits: Sequence[str]
) -> None:
  """Scores "tfidf" or "thumbnail" and writes the result to `folder`.

  Args:
    splits: those of training and validation, to learn the category from, and
      the scored one; or that one only.
  """
  if kind == "tfidf":
    modality, value = "title", baselines.title
    search, vectors = baselines.score_titles, title_vectors
  else:
    modality, value = "image", baselines.small_image
    search, vectors = baselines.score_images, baselines.colours
  read = [baselines.read(store, split, value) for split in splits]
  items, (values,) = read[-1]
  result = score.Result({}, {}, {})
  if score.searchable(items):
    scored = search(values, items, bootstrap=0)
    score.add_search(result, ("both", modality), scored, items)
  if len(splits) > 1:
    vectors_ND = vectors([one for _, (held,) in read for one in held])
    ends = np.cumsum([len(part.ids) for part, _ in read])[:-1]
    parts = [
      Rows(part_ND, part.categories or [], part.ids, part.products)
      for part_ND, (part, _) in zip(
        np.split(vectors_ND, ends), read, strict=True
      )
    ]
    score.add_category(result, "category", lambda: score.probe(*parts), items)
  score.write(folder, result)


def title_vectors(titles: Sequence[str]) -> np.ndarray:
  """Projects TF-IDF on the directions in which titles differ most.

  Returns:
    float32 [N, D]; zeros if no title has a word.
  """
  from sklearn.utils.extmath import randomized_svd

  count_NV: Any = baselines.tfidf_vectors(titles)
  if not count_NV.shape[1]:
    return np.zeros((len(titles), 1), np.float32)
  width = min(_DIMENSIONS, *count_NV.shape)
  left_ND, size_D, _ = randomized_svd(count_NV, width, random_state=0)
  return (left_ND * size_D).astype(np.float32)
