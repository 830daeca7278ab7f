"""Asks a trained model about a few listings: attention, what it recovers."""

import copy
import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Loss
from item_jax.data.records import Dataset
from item_jax.errors import check_whole
from item_jax.evaluation.explanation import (
  Attention,
  Explained,
  Explanation,
  MaskedToken,
)
from item_jax.evaluation.metrics import check_draws
from item_jax.inference.disturb import Reader, open_reader
from item_jax.inference.embedder import Embedder, load
from item_jax.inference.information import cls_attention, is_followed
from item_jax.models import patches
from item_jax.models.item import Item
from item_jax.objectives import item, losses

_TOP = 5  # tokens named for each masked one
_TRIED = 10_000  # rows at most that are looked through for what has both sides
_OF_TOKENS, _OF_PATCHES = ("mlm", "gmlm"), ("mim", "gmim")


def explain(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset | None = None,
  split: str = "test",
  step: int | None = None,
  count: int = 8,
  seed: int = 0,
) -> Explanation:
  """Shows where [CLS] looks, and what the objectives recover.

  Masks are drawn as in training; every listing keeps its own title. Objectives
  of weight 0 are left out: nothing has trained their heads.

  Args:
    workdir, step: of the model; as of `embedder.load`.
    data: a prepared catalogue, or its folder; None for the run's own.
    split: of the data.
    count: listings, drawn of those that have an image and a title.
    seed: of the listings and of the masks.

  Raises:
    UserError: no such run or data.
  """
  check_whole("count", count, at_least=1)
  check_draws(seed=seed)
  embedder = load(workdir, step=step)
  reader = open_reader(embedder, workdir, data, split, count)
  if not is_followed(embedder.task):
    name = embedder.config.model.name
    note = f"in the network model.name={name!r} no [CLS] reads image and title"
    return Explanation(split, embedder.step, notes=[note])
  rows, batch = _draw(reader, count, seed)
  if batch is None:
    note = f"no listing of the split {split!r} has an image and a title"
    return Explanation(split, embedder.step, notes=[note])
  task, config = embedder.task, embedder.config
  with jax.default_matmul_precision("highest"):
    attend = jax.jit(functools.partial(cls_attention, task.network.module))
    weights_BLS = np.asarray(attend(embedder.params, batch).mean(2))
    found = recover(embedder, batch, seed=seed)
  listings = list(_listings(embedder, reader, rows, batch, weights_BLS, found))
  return Explanation(split, embedder.step, listings, _notes(config.loss, found))


def _notes(loss: Loss, found: "Recovered | None") -> list[str]:
  """Says what is not shown, and how patches are."""
  trained = found.trained if found else []
  notes = []
  missing = [x for x in _OF_TOKENS + _OF_PATCHES if x not in trained]
  if missing:
    notes.append(f"not trained, so not shown: {', '.join(missing)}")
  if not set(_OF_PATCHES) & set(trained):
    return notes
  if loss.mim_target == "features":
    notes.append(
      "MIM and GMIM recover features of the image stem, not pixels: there is"
      " no picture to show"
    )
  elif loss.normalise_patches:
    notes.append(
      "a patch is predicted with mean 0 and variance 1; shown with the mean and"
      " the deviation of the patch that stood there"
    )
  return notes


def _draw(
  reader: Reader, count: int, seed: int
) -> tuple[list[int], Batch | None]:
  """Draws rows with both sides, and reads them; None where there are none."""
  rows_N = reader.dataset.sizes[reader.split]
  order = np.random.default_rng(seed).permutation(rows_N)[:_TRIED]
  rows, parts, size = [], [], reader.batch_size
  for number, batch in enumerate(reader.batches(order.tolist())):
    own = order[number * size : (number + 1) * size]
    chosen = np.flatnonzero(batch.complete_rows[: len(own)])[
      : count - len(rows)
    ]
    rows += own[chosen].tolist()
    parts.append(Batch(*(x[chosen] for x in batch)))
    if len(rows) == count:
      break
  if not rows:
    return [], None
  return rows, Batch(*map(np.concatenate, zip(*parts, strict=True)))


class Recovered(NamedTuple):
  """What the objectives recover of a batch, in numpy.

  trained: those with a weight. view: what was masked. predictions: of
  `objectives.item`. pictures: as of `Explained`, [B,H,W,3].
  """

  trained: list[str]
  view: item.View
  predictions: item.Predictions
  pictures: dict[str, Any]


def recover(
  embedder: Embedder, batch: Batch, *, seed: int = 0
) -> Recovered | None:
  """Masks a batch as a step does, and predicts; None where nothing recovers."""
  task, config = embedder.task, embedder.config
  model, loss = task.network.module, copy.copy(config.loss)
  trained = [x for x in item.TERMS if task.objective.weights.get(x)]
  if not trained:
    return None
  loss.negative_rate = 0.0  # each keeps its title
  objective = item.make_losses(model, config.mask, loss, task.vocabulary)

  @jax.jit
  def run(params, batch):
    view = objective.corrupt(jax.random.key(seed), 0, batch)
    predictions, _ = item.predict(model, loss, params, view)
    pictures = {}
    if loss.mim_target == "pixels":
      masked_BN = view.masked_patches.masked_BN
      pictures["masked"] = patches.blank(
        batch.image_BHWC, masked_BN, model.patch
      )
      for name in _OF_PATCHES:
        if name in trained:
          predicted_BKP = getattr(predictions, f"{name}_BKP")
          pictures[name] = paint(model, loss, view, predicted_BKP)
    return view, predictions, pictures

  view, predictions, pictures = jax.device_get(run(embedder.params, batch))
  return Recovered(
    [x for x in trained if x in _OF_TOKENS + _OF_PATCHES],
    view,
    predictions,
    # jit has sorted them.
    {x: pictures[x] for x in ("masked", *_OF_PATCHES) if x in pictures}
    if len(pictures) > 1
    else {},
  )


def paint(model: Item, loss: Loss, view: item.View, predicted_BKP) -> jax.Array:
  """uint8 images whose masked patches are as they were predicted."""
  positions_BK = view.masked_patches.positions_BK
  pixels_BHWC = patches.normalise(view.batch.image_BHWC)
  true_BNP = jnp.asarray(patches.to_patches(pixels_BHWC, model.patch))
  if loss.normalise_patches:
    mean_BK1, deviation_BK1 = losses.patch_statistics(
      jnp.take_along_axis(true_BNP, positions_BK[..., None], axis=1)
    )
    predicted_BKP = predicted_BKP * deviation_BK1 + mean_BK1
  rows_B1 = jnp.arange(len(positions_BK))[:, None]
  painted_BNP = true_BNP.at[rows_B1, positions_BK].set(predicted_BKP)
  image_BHWC = (patches.from_patches(painted_BNP, model.patch) + 1.0) * 127.5
  return jnp.clip(jnp.round(image_BHWC), 0, 255).astype(jnp.uint8)


def _listings(
  embedder: Embedder,
  reader: Reader,
  rows: list[int],
  batch: Batch,
  weights_BLS,
  found: Recovered | None,
) -> Iterator[Explained]:
  names = {i: token for token, i in embedder.tokenizer.ids().items()}
  source = reader.dataset.source(reader.split)
  N = embedder.task.network.module.num_patches
  for place, row in enumerate(rows):
    record = source[row]
    tokens_T = batch.tokens_BT[place]
    tokens_T = tokens_T[tokens_T != embedder.tokenizer.pad]
    end = 1 + N + len(tokens_T)
    attention = {
      layers: Attention(float(x_S[0]), x_S[1 : 1 + N], x_S[1 + N : end])
      for layers, x_S in (
        ("last layer", weights_BLS[place, -1]),
        ("mean of layers", weights_BLS[place].mean(0)),
      )
    }
    yield Explained(
      row,
      record.listing_id,
      record.title,
      [_name(names, i) for i in tokens_T],
      batch.image_BHWC[place],
      attention,
      {k: x[place] for k, x in found.pictures.items()} if found else {},
      list(_masked_tokens(names, found, place)) if found else [],
    )


def _masked_tokens(
  names: dict[int, str], found: Recovered, place: int
) -> Iterator[MaskedToken]:
  masked = found.view.masked_tokens
  trained = [x for x in _OF_TOKENS if x in found.trained]
  if not trained:
    return
  order = np.argsort(masked.positions_BK[place])
  for k in order[masked.valid_BK[place][order]]:
    likeliest = {}
    for name in trained:
      logits_V = getattr(found.predictions, f"{name}_BKV")[place, k]
      p_V = np.exp(logits_V - logits_V.max(), dtype=np.float64)
      p_V /= p_V.sum()
      top = np.argsort(-p_V, kind="stable")[:_TOP]
      likeliest[name] = [(_name(names, i), float(p_V[i])) for i in top]
    position = int(masked.positions_BK[place, k])
    yield MaskedToken(
      position,
      _name(names, masked.targets_BK[place, k]),
      _name(names, masked.seen_BT[place, position]),
      likeliest,
    )


def _name(names: dict[int, str], number) -> str:
  # The token table has rows that no token has.
  return names.get(int(number), f"[{number}]")
