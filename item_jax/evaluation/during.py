"""Scores the validation split while a run trains: parameters in; recall@10
and MAP@10 of both sides, of the photo alone and of the title alone out, and
how often the category is right where the task has one."""

from collections.abc import Callable

import jax
import numpy as np

from item_jax.data import pipeline
from item_jax.evaluation import hosts, retrieval, shards
from item_jax.evaluation.embed import embed_unit
from item_jax.evaluation.items import Items
from item_jax.evaluation.search import search
from item_jax.training import sharding
from item_jax.training.stopping import Interrupted

# Rows of the validation split that are scored; more cost time and tell little.
MOST_ROWS = 20_000
_SAID = "category"  # beside the modalities


def make_evaluate(setup):
  """(params -> {"both/recall@10": ...}) for a `training.setup.Setup`.

  Gives {} where the split has nothing to find and nothing to predict. Asks
  `stop` before every batch, and raises Interrupted when it says so.
  """
  config, store, task = setup.config, setup.store, setup.task
  split = config.data.val_split
  size = config.batch_size
  rows = min(store.sizes[split], MOST_ROWS)
  source = store.source(split)
  # Each process reads its part; of photos only those it embeds.
  mine = range(rows)[hosts.share(rows)]
  known = [shards.read_item(source, split, row) for row in mine]
  known = hosts.gather([[x.id, x.product, x.category] for x in known])
  ids, products, categories = (list(x) for x in zip(*known, strict=True))
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
        raise Interrupted("validation was left before its end")

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
    parts = []
    for batch, _ in zip(batches, range(-(-rows // size)), strict=False):
      go_on()
      out = run(params, sharding.to_devices(setup.mesh, size, batch))
      parts.append(jax.tree.map(np.asarray, out))
    found = {
      name: np.concatenate([part[name] for part in parts])[:rows]
      for name in parts[0]
    }
    scores = {}
    for modality in modalities:
      go_on()  # a search of all rows takes seconds
      scored = retrieval.score(
        found[modality], items, bootstrap=0, search=hosts.divided(search)
      )
      for name in ("recall@10", "map@10"):
        scores[f"{modality}/{name}"] = scored.summary[name]
    if _SAID in found and (class_N >= 0).any():
      right_N = found[_SAID] == class_N
      scores["category/accuracy"] = float(right_N[class_N >= 0].mean())
    return scores

  return evaluate
