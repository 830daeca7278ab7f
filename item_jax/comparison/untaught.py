"""A store's split in, the search results of what learns nothing out."""

from collections.abc import Callable, Iterator

import simplejpeg

from item_jax.comparison import score
from item_jax.comparison.score import Result
from item_jax.data.records import Record, Store
from item_jax.evaluation import retrieval, trivial
from item_jax.evaluation.items import Items


def tfidf(store: Store, split: str) -> Result:
  """Titles by their words."""
  items, titles = Items([], []), []
  for record in _listings(store, split, items):
    titles.append(record.title)

  def search():
    words = trivial.tfidf(titles)
    found = trivial.search_sparse(words, items.ids, k=retrieval.LISTED)
    return retrieval.score_found(found, items, bootstrap=0)

  return _searched(search, items)


def thumbnail(store: Store, split: str) -> Result:
  """Photos by their colours."""
  items, small = Items([], []), []
  for record in _listings(store, split, items):
    photo = simplejpeg.decode_jpeg(record.image) if record.image else None
    small.append(None if photo is None else trivial.thumbnail(photo))
  return _searched(
    lambda: retrieval.score(trivial.colours(small), items, bootstrap=0), items
  )


def _listings(store: Store, split: str, items: Items) -> Iterator[Record]:
  """The records one at a time; fills `items`."""
  for record in store.source(split):
    items.ids.append(record.listing_id)
    items.products.append(record.product_id)
    yield record


def _searched(search: Callable, items: Items) -> Result:
  result = Result({}, {}, {})
  if score.searchable(items):
    score.add_search(result, "both", search(), items)
  return result
