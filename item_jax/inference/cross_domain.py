"""Measures runs in catalogues that they were not trained on."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation import baselines, retrieval
from item_jax.evaluation.cross_domain import CrossDomain
from item_jax.evaluation.metrics import check_draws
from item_jax.evaluation.retrieval import Scores
from item_jax.evaluation.vectors import Mixed, all_same
from item_jax.inference.embedder import load
from item_jax.listing import as_list
from item_jax.training.run import check_data

logger = logging.getLogger(__name__)


def cross_domain(
  workdirs: str | os.PathLike | Sequence[str | os.PathLike],
  data: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  split: str = "test",
  batch_size: int = 256,
  bootstrap: int = 1000,
  seed: int = 0,
) -> CrossDomain:
  """Scores same-product search of every run in every catalogue.

  A run cuts titles by its own tokenizer, whatever the catalogue was prepared
  with, as a data set stores them as they were written. TF-IDF and thumbnails
  stand beside the runs: they say how hard a catalogue is.

  Args:
    workdirs: of runs; the best checkpoint of each. data: prepared catalogues.
      Both are named by their folders, or by their paths where these are alike.
    split: of each catalogue.
    batch_size: rows at a time; it does not change the result.
    bootstrap: resamples for the intervals. seed: of the resamples.

  Raises:
    UserError: no such run or catalogue, one given twice, one of another
      preprocessing, one without two listings of a product, or in which nothing
      that is compared tells listings apart.
  """
  check_draws(seed=seed, bootstrap=bootstrap)
  runs, catalogues = _names("run", workdirs), _names("catalogue", data)
  opened = {name: open_dataset(path) for name, path in catalogues.items()}
  embedders = {name: load(path) for name, path in runs.items()}
  items = {}
  systems = [*runs, "tfidf", "thumbnail"]
  scores: dict[str, dict[str, Scores]] = {system: {} for system in systems}

  def add(system: str, name: str, vectors: np.ndarray | Mixed) -> None:
    if all_same(vectors):
      return  # ids alone would rank them
    try:
      scores[system][name] = retrieval.score(
        vectors, items[name], k=10, bootstrap=bootstrap, seed=seed
      )
    except UserError as error:
      raise UserError(f"{catalogues[name]}: {error}") from error

  for name, dataset in opened.items():
    for run, embedder in embedders.items():
      check_data(embedder.run, dataset, runs[run], tokenizer=False)
    items[name], (titles, small) = baselines.read(
      dataset, split, baselines.title, baselines.small_image
    )
    add("tfidf", name, baselines.tfidf_vectors(titles))
    add("thumbnail", name, baselines.colours(small))
  for run, embedder in embedders.items():
    for name, dataset in opened.items():
      logger.info(f"{run} in {name}: {len(items[name].ids):,} listings")
      add(
        run, name, embedder.embed_split(dataset, split, batch_size=batch_size)
      )
  for name, path in catalogues.items():
    if not any(name in found for found in scores.values()):
      raise UserError(
        f"{path}: no two listings of split {split!r} differ in anything that"
        " is compared: only ids would rank them"
      )
  return CrossDomain(scores, split)


def _names(
  what: str, given: str | os.PathLike | Sequence[str | os.PathLike]
) -> dict[str, str | os.PathLike]:
  """{name: path}: the folder's name where no other one has it."""
  paths = as_list(given, what)
  if not paths:
    raise UserError(f"no {what}: expected one or more")
  folders = [Path(path).absolute().name for path in paths]
  names = folders if len(set(folders)) == len(paths) else list(map(str, paths))
  if len(set(names)) < len(names):
    raise UserError(f"{what} {', '.join(names)}: expected each once")
  if taken := {"tfidf", "thumbnail"} & set(names):
    raise UserError(f"{what} {', '.join(taken)}: names of the baselines")
  return dict(zip(names, paths, strict=True))
