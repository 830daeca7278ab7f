"""The baselines every reader asks for: titles or photos in, what they find out.

Word counts of titles (TF-IDF) and a colour thumbnail of the photo, ranked by
the same rules as embeddings, so that one scorer serves all.
"""

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import scipy.sparse
import simplejpeg

from item_jax.data.images import BadImage
from item_jax.data.records import BadRecord, Record, Store
from item_jax.data.unreadable import listed
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.ranking import (
  Neighbours,
  in_id_order,
  neighbours,
  rank,
)
from item_jax.evaluation.search import GRID, rounded

SIDE = 16  # pixels of a thumbnail


def read(
  store: Store, split: str, *values: Callable[[Record], object]
) -> tuple[Items, tuple[list, ...]]:
  """A split's items, and of each record what each of `values` makes of it.

  One that cannot be read keeps its place, as in an export: it is called
  "test[17]" and has nothing; one whose photo is broken has no photo. They are
  counted and named.
  """
  items, found = Items([], [], []), tuple([] for _ in values)
  source, unreadable = store.source(split), []
  for number in range(len(source)):
    try:
      record = source[number]
    except BadRecord:
      record = Record(f"{split}[{number}]", "", "", "", b"")
      unreadable.append(record.listing_id)
    try:
      made = [value(record) for value in values]
    except BadImage:
      made = [value(record._replace(image=b"")) for value in values]
      unreadable.append(record.listing_id)
    items.ids.append(record.listing_id)
    items.products.append(record.product_id)
    items.categories.append(record.category)
    for held, one in zip(found, made, strict=True):
      held.append(one)
  if unreadable:
    print(
      f"split {split!r}: {len(unreadable)} of {len(source)} listings, or their"
      f" photos, cannot be read: {listed(unreadable)}"
    )
  return items, found


def title(record: Record) -> str:
  return record.title


def small_photo(record: Record) -> np.ndarray | None:
  """Its thumbnail; None where there is no photo.

  Raises:
    BadImage: it is not what was prepared.
  """
  if not record.image:
    return None
  try:
    return thumbnail(simplejpeg.decode_jpeg(record.image))
  except ValueError as error:
    raise BadImage(str(error)) from error


def score_titles(
  titles: Sequence[str],
  items: Items,
  *,
  ks: Sequence[int] = (10,),
  **options,
) -> retrieval.Scored:
  """Search by words; options as of `retrieval.score_found`."""
  k = retrieval.results_needed(ks, items.rows("index"))
  found = search_sparse(tfidf(titles), items.ids, k=k)
  return retrieval.score_found(found, items, ks=ks, **options)


def score_photos(
  thumbnails: Sequence[np.ndarray | None], items: Items, **options
) -> retrieval.Scored:
  """Search by colours; options as of `retrieval.score`."""
  return retrieval.score(colours(thumbnails), items, **options)


def tfidf(titles: Iterable[str]) -> scipy.sparse.csr_array:
  """Weighted word counts of titles, rows of unit length (or empty).

  Words are what stands between spaces, in lower case. A word's weight is its
  count in the title times ln((1 + N) / (1 + titles that have it)) + 1, the
  smoothed form that scikit-learn has made the usual one.

  Returns:
    float64 [N, words]; a title without a word is a row of zeros.
  """
  numbers: dict[str, int] = {}
  columns, ends = [], [0]
  for title in titles:
    words = title.lower().split()
    columns += [numbers.setdefault(word, len(numbers)) for word in words]
    ends.append(len(columns))
  count_NV = scipy.sparse.csr_array(
    (np.ones(len(columns)), np.array(columns, np.int64), np.array(ends)),
    shape=(len(ends) - 1, len(numbers)),
  )
  count_NV.sum_duplicates()
  having_V = np.bincount(count_NV.indices, minlength=len(numbers))
  weight_V = np.log((1 + count_NV.shape[0]) / (1 + having_V)) + 1
  count_NV.data *= weight_V[count_NV.indices]
  rows = np.repeat(np.arange(count_NV.shape[0]), np.diff(count_NV.indptr))
  square_N = np.bincount(rows, count_NV.data**2, minlength=count_NV.shape[0])
  count_NV.data /= np.sqrt(square_N)[rows]
  return count_NV


def search_sparse(
  unit_NV: scipy.sparse.csr_array,
  ids: Sequence[str],
  *,
  k: int,
  queries: np.ndarray | None = None,
  index: np.ndarray | None = None,
  tile: int = 2048,
) -> Neighbours:
  """As `search`, for sparse rows of unit length; a row of zeros scores zero.

  Only tile x tile scores are ever dense.
  """
  grid_NV = unit_NV.copy()
  grid_NV.data = np.rint(grid_NV.data * GRID)
  # A row of zeros has no factor; one is as good, its sums are zero.
  factor_N = 1 / np.sqrt(np.maximum(grid_NV.power(2).sum(axis=1), 1))
  queries = np.arange(len(ids)) if queries is None else queries
  index, place_N = in_id_order(ids, index)
  item_IV, factor_I = grid_NV[index], factor_N[index]
  found = []
  for start in range(0, len(queries), tile):
    rows = queries[start : start + tile]
    query_QV, factor_Q1 = grid_NV[rows], factor_N[rows, None]

    def score(first, last, query_QV=query_QV, factor_Q1=factor_Q1):
      sums_QI = (query_QV @ item_IV[first:last].T).toarray()
      return rounded(sums_QI, factor_Q1, factor_I[first:last])

    found.append(rank(score, len(index), place_N[rows], k=k, tile=tile))
  return neighbours(found, index, k)


def thumbnail(photo_HWC: np.ndarray) -> np.ndarray:
  """A photo of any size as 16 x 16 pixels, each the mean of what it covers."""
  return cv2.resize(photo_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def colours(thumbnails: Iterable[np.ndarray | None]) -> np.ndarray:
  """Thumbnails as vectors for `search`: pixels less the set's mean thumbnail.

  Args:
    thumbnails: N times uint8 [16, 16, 3], or None where there is no photo.

  Returns:
    float32 [N, 769]. The last value is 1 where there is no photo (or one that
    is the mean itself) and 0 elsewhere, so that such a row has a cosine of
    zero with every photo.
  """
  thumbnails = list(thumbnails)
  pixel_NP = np.zeros((len(thumbnails), SIDE * SIDE * 3), np.float32)
  seen = [row for row, small in enumerate(thumbnails) if small is not None]
  for row in seen:
    pixel_NP[row] = thumbnails[row].reshape(-1)
  if seen:
    pixel_NP[seen] -= pixel_NP[seen].mean(axis=0, dtype=np.float64)
  blank_N = ~pixel_NP.any(axis=1)
  return np.concatenate([pixel_NP, blank_N[:, None]], axis=1, dtype=np.float32)
