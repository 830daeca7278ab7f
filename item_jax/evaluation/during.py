"""Scores the validation split while a run trains: parameters in; recall@10
and MAP@10 of both sides, of the photo alone and of the title alone out."""

import jax
import numpy as np

from item_jax.data import pipeline
from item_jax.evaluation import retrieval
from item_jax.evaluation.embed import MODALITIES, embed_unit
from item_jax.evaluation.items import Items
from item_jax.training import sharding

# Rows of the validation split that are scored; more cost time and tell little.
MOST_ROWS = 20_000


def make_evaluate(setup):
  """(params -> {"both/recall@10": ...}) for a `training.setup.Setup`.

  Gives {} where the split has nothing to find.
  """
  config, store, task = setup.config, setup.store, setup.task
  split = config.data.val_split
  size = config.batch_size
  rows = min(store.sizes[split], MOST_ROWS)
  source = store.source(split)
  records = [source[i] for i in range(rows)]
  items = Items(
    ids=[record.listing_id for record in records],
    products=[record.product_id for record in records],
  )
  if len(set(items.products)) == len(items.products):
    print(
      f"split {split!r} has no product with two listings: no same-product"
      " search while training, and the newest checkpoint counts as the best",
      flush=True,
    )
    return lambda params: {}

  def embed_all(params, batch):
    return {
      modality: embed_unit(task, params, batch, modality=modality)
      for modality in MODALITIES
    }

  run = jax.jit(embed_all, out_shardings=sharding.replicated(setup.mesh))

  def evaluate(params) -> dict[str, float]:
    parts = {modality: [] for modality in MODALITIES}
    batches = pipeline.ordered_batches(
      store,
      split,
      setup.words,
      image_size=config.model.image_size,
      title_places=config.model.title_places,
      batch_size=size,
      host_rows=sharding.host_rows(setup.mesh, size),
      threads=config.data.threads,
      ahead=config.data.ahead,
    )
    for batch, _ in zip(batches, range(-(-rows // size)), strict=False):
      out = run(params, sharding.to_devices(setup.mesh, size, batch))
      for modality, g_BD in out.items():
        parts[modality].append(np.asarray(g_BD))
    scores = {}
    for modality, held in parts.items():
      scored = retrieval.score(np.concatenate(held)[:rows], items, bootstrap=0)
      for name in ("recall@10", "map@10"):
        scores[f"{modality}/{name}"] = scored.summary[name]
    return scores

  return evaluate
