"""Predicts leaf categories with a model that was trained for them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.data.records import Dataset, open_dataset
from item_jax.errors import UserError, check_whole
from item_jax.evaluation import labels
from item_jax.evaluation.metrics import check_draws
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder, load, read_split
from item_jax.inference.predictions import ListingPredictions, SplitPredictions
from item_jax.ingest.readers.cells import spaced
from item_jax.training.run import check_data, read_run


def predict_split(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset,
  split: str,
  top: int = 5,
  step: int | None = None,
  batch_size: int = 256,
  bootstrap: int = 1000,
) -> SplitPredictions:
  """Predicts the categories of a split of a prepared catalogue.

  Of every listing that can be read, in their order.

  Args:
    workdir: of a run with task="category".
    data: a prepared catalogue.
    split: of the data.
    top: categories a listing; fewer where the model knows fewer.
    step: which checkpoint; as `embedder.load`.
    batch_size: rows at a time.
    bootstrap: resamples for the intervals.

  Raises:
    UserError: a model that predicts no category; data that were not prepared
      as its own.
  """
  check_whole("batch_size", batch_size, at_least=1)
  check_draws(seed=0, bootstrap=bootstrap)
  embedder = _load(workdir, step, top)
  dataset = open_dataset(data)
  check_data(embedder.run, dataset, workdir)
  source = dataset.source(split)
  items = [
    export_shards.read_item(source, split, n) for n in range(len(source))
  ]
  predicted, probabilities, bad = [], [], []
  # Five are always ranked: top-5 accuracy needs them, whatever is shown.
  deep = max(top, labels.TOP)
  for batch in read_split(embedder, dataset, split, batch_size):
    ranked_BK, some_BK = rank(embedder.predict_batch(batch), deep)
    predicted += [[embedder.categories[c] for c in line] for line in ranked_BK]
    probabilities.append(some_BK)
    bad.append(batch.bad_B)
  bad_N = np.concatenate(bad)[: len(items)]  # the last batch is filled up
  good_N = np.flatnonzero(~bad_N)
  predicted = [predicted[row] for row in good_N]
  ids, products, true = (
    [getattr(items[row], name) for row in good_N]
    for name in ("id", "product", "category")
  )
  scored = None
  if set(true) & set(embedder.categories):
    scored = labels.compare_labels(
      true,
      [line[0] for line in predicted],
      predicted,
      classes=embedder.categories,
    )
  return SplitPredictions(
    ids,
    products,
    true,
    [line[:top] for line in predicted],
    np.concatenate(probabilities)[good_N, :top],
    scored,
    [items[row].id for row in np.flatnonzero(bad_N)],
    embedder.step,
    bootstrap,
  )


def rank(log_p_BC: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
  """Ranks the likeliest classes, int [B, top], with their probabilities.

  Of equal ones the first class comes first; fewer where there are fewer.
  """
  best_BK = np.argsort(-log_p_BC, axis=1, kind="stable")[:, :top]
  return best_BK, np.exp(np.take_along_axis(log_p_BC, best_BK, axis=1))


def predict_listings(
  workdir: str | os.PathLike,
  *,
  images: Sequence[str] | None = None,
  titles: Sequence[str] | None = None,
  top: int = 5,
  step: int | None = None,
) -> ListingPredictions:
  """Predicts the likeliest categories of single images and titles.

  Args:
    workdir: of a run with task="category".
    images: files; "" where a listing has none. Absent: all are missing.
    titles: likewise.
    top: categories a listing.
    step: which checkpoint; as `embedder.load`.

  Raises:
    UserError: an image that cannot be read; a listing of which the model would
      see nothing.
  """
  images = images and [image if image.strip() else "" for image in images]
  titles = titles and [spaced(title) for title in titles]
  embedder = _load(workdir, step, top)
  log_p_NC = embedder.predict(
    images=images,
    titles=titles,
    batch_size=min(64, max(len(images or ()), len(titles or ()))),
  )
  _check_seen(embedder.task.modality, images, titles, rows=len(log_p_NC))
  ranked_NK, probability_NK = rank(log_p_NC, top)
  names = [
    " | ".join(given[row] for given in (images, titles) if given and given[row])
    for row in range(len(log_p_NC))
  ]
  categories = [[embedder.categories[c] for c in line] for line in ranked_NK]
  return ListingPredictions(names, categories, probability_NK)


def _check_seen(side: str | None, images, titles, *, rows: int) -> None:
  """Refuses a listing without what the model looks at.

  It would get the most frequent categories as if they were its own.
  """
  given = {"image": images, "title": titles}
  if side:
    given = {side: given[side]}
  for row in range(rows):
    if not any(values and values[row] for values in given.values()):
      raise UserError(
        f"listing {row + 1} has no {' and no '.join(given)}, and the model sees"
        " nothing else"
      )


def _load(workdir, step, top: int) -> Embedder:
  check_whole("top", top, at_least=1)
  run = read_run(Path(workdir))
  if not run.categories:  # now, not after loading the weights
    raise UserError(
      f"{workdir} holds a model of task={run.config.task!r}, which predicts no"
      " category: train one with --config.task=category, or use item-jax probe"
      " on its embeddings"
    )
  return load(workdir, step=step)
