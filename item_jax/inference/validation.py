"""Scores the validation split while a run trains: parameters in; recall@10
and MAP@10 of both sides, of the photo alone and of the title alone out, and
how often the category is right where the task has one."""

import hashlib
import heapq
from collections.abc import Callable

import jax
import numpy as np

from item_jax.data import pipeline
from item_jax.data.records import Source
from item_jax.distributed.barrier import gather, own_part
from item_jax.distributed.preemption import Preempted
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items
from item_jax.evaluation.search import search
from item_jax.inference import export_shards
from item_jax.inference.divided import divided
from item_jax.inference.embedder import embed_unit
from item_jax.training import sharding

# Rows of the validation split that are scored: whole products, up to so many.
# More cost time and tell little.
MOST_ROWS = 20_000
_SAID = "category"  # beside the modalities


def make_evaluate(setup):
  """(params -> {"both/recall@10": ...}) for a `training.setup.Setup`.

  Gives {} where the split has nothing to find and nothing to predict. Asks
  `stop` before every batch, and raises Preempted when it says so.
  """
  config, store, task = setup.config, setup.store, setup.task
  split = config.data.val_split
  size = config.batch_size
  rows, ids, products, categories = scored_rows(store.source(split), split)
  items = Items(ids, products)
  number = {name: c for c, name in enumerate(setup.categories)}
  class_N = np.array([number.get(name, -1) for name in categories])
  modalities = task.modalities
  named = [product for product in products if product]
  if len(set(named)) == len(named):
    print(
      f"split {split!r} has no product with two listings: no same-product"
      " search while training",
      flush=True,
    )
    modalities = ()
  if not modalities and task.predict is None:
    return lambda params, stop=None: {}

  def run_batch(params, batch):
    out = {
      modality: embed_unit(task, params, batch, modality=modality)
      for modality in modalities
    }
    if task.predict is not None:
      out[_SAID] = task.predict(params, batch).argmax(-1)
    return out

  run = jax.jit(run_batch, out_shardings=sharding.replicated(setup.mesh))

  def evaluate(
    params, stop: Callable[[], bool] = lambda: False
  ) -> dict[str, float]:
    def go_on() -> None:
      if stop():
        raise Preempted("validation was left before its end")

    batches = pipeline.ordered_batches(
      store,
      split,
      setup.tokenizer,
      image_size=config.model.image_size,
      max_title_tokens=config.model.max_title_tokens,
      batch_size=size,
      host_rows=sharding.host_rows(setup.mesh, size),
      read_threads=config.data.read_threads,
      prefetch=config.data.prefetch,
      chosen=rows,
    )
    parts = []
    for batch in batches:
      go_on()
      out = run(params, sharding.to_devices(setup.mesh, size, batch))
      parts.append(jax.tree.map(np.asarray, out))
    found = {
      name: np.concatenate([part[name] for part in parts])[: len(rows)]
      for name in parts[0]
    }
    scores = {}
    for modality in modalities:
      go_on()  # a search of all rows takes seconds
      scored = retrieval.score(
        found[modality], items, bootstrap=0, search=divided(search)
      )
      for name in ("recall@10", "map@10"):
        scores[f"{modality}/{name}"] = scored.summary[name]
    if _SAID in found and (class_N >= 0).any():
      right_N = found[_SAID] == class_N
      scores["category/accuracy"] = float(right_N[class_N >= 0].mean())
    return scores

  return evaluate


def scored_rows(
  source: Source, split: str
) -> tuple[list[int], list[str], list[str], list[str]]:
  """Which rows are scored, ascending, and their ids, products and categories.

  All of a split of up to `MOST_ROWS`. Of a larger one the first products in
  the order of their ids' hashes, whole: of its first rows, as they come, few
  would have another of their product among them. Every process reads a part.
  """
  mine = range(len(source))[own_part(len(source))]
  known = ((row, export_shards.read_item(source, split, row)) for row in mine)
  found = ([row, x.id, x.product, x.category] for row, x in known)
  # One more, to see whether the last product goes on.
  found = gather(heapq.nsmallest(MOST_ROWS + 1, found, _by_product))
  found = heapq.nsmallest(MOST_ROWS + 1, found, _by_product)
  if len(found) > MOST_ROWS:
    beyond = _by_product(found.pop())[0]
    whole = [row for row in found if _by_product(row)[0] != beyond]
    found = whole or found
  return tuple(list(column) for column in zip(*sorted(found), strict=True))


def _by_product(found: list) -> tuple[bytes, int]:
  """Rows of one product together, whatever the split's order."""
  row, listing, product, _ = found
  # Nobody's product is no product: each such row stands for itself.
  return hashlib.sha256((product or listing).encode()).digest(), row
