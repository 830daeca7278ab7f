"""Chooses, on validation, how the vectors of a run are pooled and whitened."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.data.records import Dataset
from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation.items import Items
from item_jax.evaluation.transform import Transform
from item_jax.inference import export_shards
from item_jax.inference import space as space_lib
from item_jax.inference.embed_parts import embed_parts
from item_jax.inference.embedder import Embedder
from item_jax.inference.space import Space
from item_jax.inference.validation import scored_rows

AUTO = "auto"
RECIPES = {
  AUTO: transform_lib.GRID,
  "none": transform_lib.GRID[:1],
  "centre": transform_lib.GRID[1:2],
  "whiten": (transform_lib.WHITEN,),
}
# Rows that are embedded for it: more would change little, and take longer.
TRAIN_ROWS, VAL_ROWS = 20_000, 5_000


class Asked(NamedTuple):
  """What is asked for of an export's vectors.

  pool: how one vector is made of the network's states, one of its `pools`; None
    for the embedding that was trained. "auto" takes what finds most on the
    validation split of the data.
  whiten: "centre" and "whiten" are learnt from the training split of the data;
    "auto" takes what finds most on validation, or "none".
  like: the folder of another export of the run, whose pool and transform are
    taken as they are: the vectors of both can be compared. Its checkpoint is
    taken too, where no step is given.
  """

  pool: str | None = None
  whiten: str = "none"
  like: str | os.PathLike | None = None

  def check(self, embedder: Embedder) -> None:
    """Refuses what the model cannot be asked for."""
    if self.like is not None and (self.pool, self.whiten) != (None, "none"):
      raise UserError(
        f"like={os.fspath(self.like)!r} says which pool and transform: give"
        " neither pool nor whiten with it"
      )
    known = embedder.task.pools
    if self.pool not in (None, AUTO, *known):
      name = embedder.config.model.name
      raise UserError(
        f"pool={self.pool!r}: model.name={name!r} has {', '.join(known)}, and"
        f" {AUTO} takes the best"
      )
    if self.whiten not in RECIPES:
      raise UserError(f"whiten={self.whiten!r}: known are {', '.join(RECIPES)}")


def settle(
  out: Path,
  plan: export_shards.Plan,
  asked: Asked,
  embedder: Embedder,
  dataset: Dataset,
  batch_size: int,
  workers: int,
  *,
  overwrite: bool,
  notify: Callable[[int], None],
) -> dict[str, Any] | None:
  """Finds or makes the space of an export, and writes it into its folder.

  Args:
    embedder: in the space of `asked.like`, where there is one.
    batch_size, workers, notify: as of `fit_space`.
    overwrite: whether another export in the folder may be replaced.

  Returns:
    `Space.made`; None for vectors as they were trained.

  Raises:
    UserError: the folder holds another export; as `fit_space`.
  """
  given, names = embedder.space, embedder.config.data
  if given is not None:
    request = {"like": [given.made["pool"], given.made["sha256"]]}
  elif asked.like or (
    asked.pool in (None, embedder.task.pools[0]) and asked.whiten == "none"
  ):
    return None
  else:
    request = {
      **{"pool": asked.pool, "whiten": asked.whiten},
      **{"checkpoint": plan.checkpoint, "dtype": plan.dtype},
      "modality": plan.modality,
      "train": dataset.fingerprints.get(names.train_split),
      "val": dataset.fingerprints.get(names.val_split),
    }
  space = space_lib.find(out, request)
  if space is None:
    if not overwrite:  # refused now, not after the work
      export_shards.check_free(out, plan._replace(space=str(request)))
    how = {"batch_size": batch_size, "workers": workers, "notify": notify}
    space = given or fit_space(embedder, dataset, asked, plan.modality, **how)
    known = {"request": request, "checkpoint": plan.checkpoint}
    space = space._replace(made=space.made | known)
  return space_lib.save(out, space)


def fit_space(
  embedder: Embedder,
  dataset: Dataset,
  asked: Asked,
  modality: str,
  *,
  batch_size: int,
  workers: int = 0,
  notify: Callable[[int], None] = lambda row: None,
) -> Space:
  """Finds the pool and the transform of a model's vectors.

  Learns from a sample of the run's training split, and where there is a choice
  takes what finds most on its validation split, both of the data given.

  Args:
    embedder: of vectors as they were trained.
    modality: what the model is shown.
    batch_size: rows that a device embeds at a time.
    workers: processes that decode.
    notify: is called with rows as they are embedded.

  Raises:
    UserError: a split is missing, or nothing in it tells what is better.
  """
  pools = embedder.task.pools
  own, recipes = pools[0], RECIPES[asked.whiten]
  pools = pools if asked.pool == AUTO else (asked.pool or own,)
  names = embedder.config.data

  def embed(split: str, rows: list[int]):
    how = {"modality": modality, "workers": workers, "notify": notify}
    return _embed(embedder, dataset, split, rows, size=batch_size, **how)

  def made(pool: str, transform: Transform, **more) -> Space:
    dims = transform.dims(embedder.pool_dims[pool])
    known = {"pool": pool, "transform": str(transform), "dims": dims}
    return Space(transform, known | more)

  if len(pools) == 1 and asked.whiten == "none":
    return made(pools[0], Transform())
  rows = _sample(len(dataset.source(names.train_split)), TRAIN_ROWS)
  train, nothing_N = embed(names.train_split, rows)
  for pooled_ND in train.values():
    pooled_ND[nothing_N] = 0  # is not learnt from
  if len(pools) * len(recipes) == 1:
    return made(pools[0], transform_lib.fit(train[pools[0]], recipes[0]))
  rows, items = _validation(dataset, names.val_split)
  val, _ = embed(names.val_split, rows)
  tried, best = [], []
  for pool in pools:
    transform, scores = transform_lib.choose(
      train[pool], val[pool], items, recipes=recipes
    )
    tried += [{"pool": pool, **one} for one in scores]
    best.append((max(one["map@10"] for one in scores), pool, transform))
  score, pool, transform = max(best, key=lambda one: one[0])
  first = tried[0] if recipes[0].kind == "none" else {}
  as_trained = first.get("map@10") if pools[0] == own else None
  found = {"map@10": score, "as_trained": as_trained, "tried": tried}
  return made(pool, transform, **found)


def _sample(count: int, most: int) -> list[int]:
  """Row numbers, ascending; all of them where there are no more."""
  if count <= most:
    return list(range(count))
  drawn = np.random.default_rng(0).choice(count, most, replace=False)
  return sorted(drawn.tolist())


def _validation(dataset: Dataset, split: str) -> tuple[list[int], Items]:
  rows, ids, products, _ = scored_rows(
    dataset.source(split), split, most=VAL_ROWS, alone=True
  )
  named = [product for product in products if product]
  if len(set(named)) == len(named):
    raise UserError(
      f"split {split!r} of {dataset.path} has no product with two listings, so"
      " nothing can be chosen by it: give one pool, and for whiten none, centre"
      " or whiten"
    )
  return rows, Items(ids, products)


def _embed(
  embedder: Embedder,
  dataset: Dataset,
  split: str,
  rows: list[int],
  *,
  modality: str,
  size: int,
  workers: int,
  notify: Callable[[int], None],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Embeds rows in all pools; [N], whether a row shows the model nothing."""
  ((pooled_NE, items),) = embed_parts(
    embedder,
    dataset,
    split,
    [rows],
    modality=modality,
    device_rows=min(size, len(rows)),
    workers=workers,
    notify=notify,
    embed=embedder.pool_batch,
  )
  side = embedder.task.modality or modality
  nothing_N = np.array(
    [export_shards.sees_nothing(item, side) for item in items]
  )
  ends = np.cumsum(list(embedder.pool_dims.values()))[:-1]
  parts = np.split(pooled_NE, ends, axis=1)
  return dict(zip(embedder.pool_dims, parts, strict=True)), nothing_N
