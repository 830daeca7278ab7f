"""Scores the baselines that nothing was trained for: TF-IDF and thumbnails.

Token counts of titles (TF-IDF) and a colour thumbnail of the image, ranked by
the same rules as embeddings, so that one scorer serves all.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import scipy.sparse
import simplejpeg

from item_jax.data.images import BadImage
from item_jax.data.records import BadRecord, Dataset, Record, open_dataset
from item_jax.data.unreadable import listed
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.sources import Source
from item_jax.evaluation.vectors import Mixed, make_sparse

logger = logging.getLogger(__name__)

SIDE = 16  # pixels of a thumbnail


def tfidf(
  data: str | os.PathLike | Dataset, split: str = "test", **options
) -> retrieval.Scores:
  """Scores same-product search by the TF-IDF of titles.

  Args:
    data: a prepared catalogue, or its folder.
    options: k, bootstrap and seed, as of `retrieval.score`.
  """
  items, (titles,) = read(open_dataset(data), split, title)
  source = Source("TF-IDF of titles", tfidf_vectors(titles), items)
  return retrieval.score(source, **options)


def thumbnail(
  data: str | os.PathLike | Dataset, split: str = "test", **options
) -> retrieval.Scores:
  """Scores same-product search by thumbnails; arguments as of `tfidf`."""
  items, (thumbnails,) = read(open_dataset(data), split, small_image)
  source = Source("thumbnails", colours(thumbnails), items)
  return retrieval.score(source, **options)


def read(
  dataset: Dataset, split: str, *values: Callable[[Record], object]
) -> tuple[Items, tuple[list, ...]]:
  """Reads a split's items, and what each of `values` makes of each record.

  One that cannot be read keeps its row, as in an export: it is called
  "test[17]" and has nothing; one whose image is broken has no image. They are
  counted and named in the log.
  """
  ids, products, categories, unreadable = [], [], [], []
  found = tuple([] for _ in values)
  source = dataset.source(split)
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
    ids.append(record.listing_id)
    products.append(record.product_id)
    categories.append(record.category)
    for held, one in zip(found, made, strict=True):
      held.append(one)
  if unreadable:
    logger.info(
      f"split {split!r}: {len(unreadable)} of {len(source)} listings, or their"
      f" images, cannot be read: {listed(unreadable)}"
    )
  return Items(ids, products, categories), found


def title(record: Record) -> str:
  return record.title


def small_image(record: Record) -> np.ndarray | None:
  """Makes a record's thumbnail; None where there is no image.

  Raises:
    BadImage: it is not what was prepared.
  """
  if not record.image:
    return None
  try:
    return shrink(simplejpeg.decode_jpeg(record.image))
  except ValueError as error:
    raise BadImage(str(error)) from error


def tfidf_vectors(titles: Sequence[str]) -> Mixed:
  """Weighs the words of titles by TF-IDF, rows of unit length (or empty).

  Words are what stands between spaces, in lower case. A word's weight is its
  count in the title times ln((1 + N) / (1 + titles that have it)) + 1.

  Returns:
    A sparse part alone, float64 [N, words], columns in the order in which words
    first occur; a title without a word is a row of zeros.
  """
  # Here and not above: it takes a second.
  from sklearn.feature_extraction.text import TfidfVectorizer

  words = dict.fromkeys(word for x in titles for word in x.lower().split())
  if not words:
    return make_sparse(scipy.sparse.csr_array((len(titles), 0)), [])
  vectorizer = TfidfVectorizer(token_pattern=r"\S+", vocabulary=list(words))
  counts_NV = scipy.sparse.csr_array(vectorizer.fit_transform(titles))
  return make_sparse(counts_NV, list(words))


def shrink(image_HWC: np.ndarray) -> np.ndarray:
  """Shrinks an image to 16 x 16 pixels, each the mean of what it covers."""
  return cv2.resize(image_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def colours(thumbnails: Iterable[np.ndarray | None]) -> np.ndarray:
  """Turns thumbnails into vectors: pixels less the set's mean thumbnail.

  Args:
    thumbnails: N times uint8 [16, 16, 3], or None where there is no image.

  Returns:
    float32 [N, 769]. The last value is 1 where there is no image (or one that
    is the mean itself) and 0 elsewhere, so that such a row has a cosine of
    zero with every image.
  """
  thumbnails = list(thumbnails)
  pixel_NP = np.zeros((len(thumbnails), SIDE * SIDE * 3), np.float32)
  seen = []
  for row, small in enumerate(thumbnails):
    if small is not None:
      pixel_NP[row] = small.reshape(-1)
      seen.append(row)
  if seen:
    pixel_NP[seen] -= pixel_NP[seen].mean(axis=0, dtype=np.float64)
  blank_N1 = ~pixel_NP.any(axis=1, keepdims=True)
  return np.concatenate([pixel_NP, blank_N1], axis=1, dtype=np.float32)
