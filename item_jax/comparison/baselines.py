"""What no network has learnt: a store in; cells of TF-IDF of titles, or of
thumbnails of photos, out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.comparison import category, score
from item_jax.data.records import Store
from item_jax.evaluation import baselines
from item_jax.evaluation.labelled import Rows

# Of the word counts, for the classifier: as wide as an embedding. Searched are
# the words themselves.
_DIRECTIONS = 256


def make(folder: Path, kind: str, store: Store, splits: Sequence[str]) -> None:
  """Scores "tfidf" or "thumbnail" and writes the result to `folder`.

  Args:
    splits: the last one is scored; those of training and validation before
      it, to learn the category by, or none.
  """
  side, value, search, vectors = {
    "tfidf": ("title", baselines.title, baselines.score_titles, _words),
    "thumbnail": (
      "image",
      baselines.small_image,
      baselines.score_images,
      baselines.colours,
    ),
  }[kind]
  read = [baselines.read(store, split, value) for split in splits]
  items, (values,) = read[-1]
  result = score.Result({}, {}, {})
  if score.searchable(items):
    scored = search(values, items, bootstrap=0)
    score.add_search(result, ("both", side), scored, items)
  if len(splits) > 1:
    vectors_ND = vectors([one for _, (held,) in read for one in held])
    ends = np.cumsum([len(part.ids) for part, _ in read])[:-1]
    parts = [
      Rows(vectors_ND, part.categories, part.ids, part.products)
      for vectors_ND, (part, _) in zip(
        np.split(vectors_ND, ends), read, strict=True
      )
    ]
    score.add_category(result, "category", category.probe_rows, parts, items)
  score.write(folder, result)


def _words(titles: Sequence[str]) -> np.ndarray:
  """TF-IDF in the directions in which titles differ most, float32 [N, D]."""
  from sklearn.utils.extmath import randomized_svd

  count_NV = baselines.tfidf_vectors(titles)
  if not count_NV.shape[1]:  # no title has a word
    return np.zeros((len(titles), 1), np.float32)
  width = min(_DIRECTIONS, *count_NV.shape)
  left_ND, size_D, _ = randomized_svd(count_NV, width, random_state=0)
  return (left_ND * size_D).astype(np.float32)
