"""Chooses, on validation, how the vectors of a run are pooled and whitened."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation import trials as trials_lib
from item_jax.evaluation.items import Items, has_pairs
from item_jax.evaluation.transform import Transform
from item_jax.evaluation.weighting import attempt_weights
from item_jax.inference import export_shards
from item_jax.inference import space as space_lib
from item_jax.inference.embed_parts import Work, embed_parts
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
SIDE_ROWS = 2_000  # for a mean


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
  work: Work,
  *,
  overwrite: bool,
  beside: Sequence[Path] = (),
) -> dict[str, Any] | None:
  """Finds or makes the space of an export, and writes it into its folder.

  Args:
    work: its embedder is in the space of `asked.like`, where there is one.
    beside: folders of other exports, where the same space may be known.
    overwrite: whether another export in the folder may be replaced.

  Returns:
    `Space.made`; None for vectors as they were trained.

  Raises:
    UserError: the folder holds another export; as `fit_space`.
  """
  embedder, fingerprints = work.embedder, work.dataset.fingerprints
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
      "train": fingerprints.get(names.train_split),
      "val": fingerprints.get(names.val_split),
    }
  known = (space_lib.find(folder, request) for folder in (out, *beside))
  space = next(filter(None, known), None)
  if space is None:
    if not overwrite:  # refused now, not after the work
      export_shards.check_free(out, plan._replace(space=str(request)))
    space = given or fit_space(work, asked, plan.modality)
    made = {"request": request, "checkpoint": plan.checkpoint}
    space = space._replace(made=space.made | made)
  return space_lib.save(out, space)


def fit_space(work: Work, asked: Asked, modality: str) -> Space:
  """Finds the pool and the transform of a model's vectors.

  Learns from a sample of the run's training split, and where there is a choice
  takes what finds most on its validation split, both of the data given.

  Args:
    work: its embedder gives vectors as they were trained.
    modality: what the model is shown.

  Raises:
    UserError: a split is missing, or nothing in it tells what is better.
  """
  embedder = work.embedder
  pools, recipes = embedder.task.pools, RECIPES[asked.whiten]
  pools = pools if asked.pool == AUTO else (asked.pool or pools[0],)
  pool, transform, score, tried = pools[0], Transform(), None, []
  means: dict[str, dict] = {name: {} for name in pools}
  if len(pools) * len(recipes) > 1 or asked.whiten != "none":
    train, shown_N = _embed_training(work, TRAIN_ROWS, modality)
    for pooled_ND in train.values():
      pooled_ND[shown_N == ""] = 0  # is not learnt from
    if asked.whiten != "none":
      means = _means(work, train, shown_N, modality)
    if len(pools) * len(recipes) == 1:
      transform = transform_lib.fit(train[pool], recipes[0])
    else:
      pool, transform, score, tried = _choose(
        work, train, pools, recipes, means, modality
      )
  if transform.mean_D is not None:
    transform = replace(transform, sides=means[pool])
  made = {
    "pool": pool,
    "transform": _said(transform, embedder.task.parts.get(pool, {})),
    "dims": transform.dims(embedder.pool_dims[pool]),
  }
  if tried:
    trained = [
      one["map@10"]
      for one in tried
      if (one["pool"], one["kind"]) == (embedder.task.pools[0], "none")
    ]
    made |= {"map@10": score, "as_trained": trained[0] if trained else None}
    made |= {"modality": modality, "tried": tried}
  return Space(transform, made)


def _embed_training(work: Work, most: int, modality: str):
  """Embeds a sample of the training split, as `_embed`."""
  split = work.embedder.config.data.train_split
  rows = _sample(len(work.dataset.source(split)), most)
  return _embed(work, split, rows, modality)


def _embed(
  work: Work, split: str, rows: list[int], modality: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Embeds in all pools; [N], what each row shows the model: `_shown`."""
  embedder = work.embedder
  ((pooled_NE, items),) = embed_parts(
    work,
    split,
    [rows],
    modality=modality,
    device_rows=min(work.batch_size, len(rows)),
    stage="set up",
    embed=embedder.pool_batch,
  )
  side = embedder.task.modality or modality
  ends = np.cumsum(list(embedder.pool_dims.values()))[:-1]
  parts = np.split(pooled_NE, ends, axis=1)
  found = dict(zip(embedder.pool_dims, parts, strict=True))
  return found, np.array([_shown(item, side) for item in items])


def _said(transform: Transform, parts: Iterable[str]) -> str:
  """A transform in words, of weights those that were chosen, by name."""
  if transform.shares is None:
    return str(transform)
  named = zip(parts, transform.shares, strict=True)
  return f"parts weighted {', '.join(f'{k} {v:g}' for k, v in named if v)}"


def _choose(
  work: Work, train: dict, pools, recipes, means: dict, modality: str
) -> tuple[str, Transform, float, list[dict[str, Any]]]:
  """Takes a pool and a transform by validation, as `trials.best_of`.

  Returns:
    These, their MAP@10, and all that was tried.
  """
  split = work.embedder.config.data.val_split
  rows, ids, products, _ = scored_rows(
    work.dataset.source(split), split, most=VAL_ROWS, alone=True
  )
  if not has_pairs(products):
    raise UserError(
      f"split {split!r} of {work.dataset.path} has no product with two"
      " listings, so nothing can be chosen by it: give one pool, and for whiten"
      " none, centre or whiten"
    )
  val, kind_N = _embed(work, split, rows, modality)
  items, of, trials = Items(ids, products), [], []
  task = work.embedder.task
  for pool in pools:
    made = trials_lib.attempt(
      *(train[pool], val[pool], items),
      recipes=recipes,
      sides=means[pool],
      kind_N=kind_N.tolist(),
    )
    if pool in task.parts and recipes == RECIPES[AUTO]:
      widths = tuple(task.parts[pool].values())
      # All of them: the best was found by the rows that `best_of` measures by.
      made += attempt_weights(val[pool], items, widths)
    of, trials = of + [pool] * len(made), trials + made
  best = trials_lib.best_of(trials)
  if not best:  # what its parts weigh needs no proof
    some = [0] + [
      number
      for number, one in enumerate(trials)
      if one.transform.shares and of[number] == of[0]
    ]
    best = some[trials_lib.likeliest([trials[number] for number in some])]
  tried = [
    {"pool": pool, **trial.to_dict()}
    for pool, trial in zip(of, trials, strict=True)
  ]
  return of[best], trials[best].transform, tried[best]["map@10"], tried


def _shown(item: export_shards.Item, modality: str) -> str:
  """What a row shows a model: "both", "image", "title" or ""."""
  image = item.has_image and modality != "title"
  title = item.has_title and modality != "image"
  if image and title:
    return "both"
  return "image" if image else "title" if title else ""


def _means(
  work: Work, train: dict, shown_N: np.ndarray, modality: str
) -> dict[str, dict[str, np.ndarray]]:
  """{pool: {what rows show: the mean of their unit vectors}}.

  Without that of `modality` where all rows show it: it is that of all.

  Args:
    train: of a sample in each pool; shown_N: what its rows show.
  """
  means: dict[str, dict[str, np.ndarray]] = {pool: {} for pool in train}
  for side in work.embedder.task.modalities:
    found, kind_N = train, shown_N
    if side != modality:
      found, kind_N = _embed_training(work, SIDE_ROWS, side)
    elif {*shown_N.tolist()} <= {side, ""}:
      continue
    if (of_N := kind_N == side).any():
      for pool in train:
        unit_ND = transform_lib.unit(found[pool][of_N])
        mean_D = unit_ND.mean(axis=0, dtype=np.float64)
        means[pool][side] = mean_D.astype(np.float32)
  return means


def _sample(count: int, most: int) -> list[int]:
  """Row numbers, ascending; all of them where there are no more."""
  if count <= most:
    return list(range(count))
  drawn = np.random.default_rng(0).choice(count, most, replace=False)
  return sorted(drawn.tolist())
