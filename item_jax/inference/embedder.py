"""Embeds images and titles with a trained model."""

import copy
import functools
import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import pipeline
from item_jax.data.records import Dataset, Record, open_dataset
from item_jax.data.tokenizer import Tokenizer
from item_jax.errors import UserError, check_whole
from item_jax.evaluation.results import Shown
from item_jax.inference import inputs
from item_jax.inference import space as space_lib
from item_jax.inference.space import Space
from item_jax.inference.unit import embed_unit, fetch, keep_modality
from item_jax.ingest.readers.cells import spaced
from item_jax.training import attention_backend as attention_lib
from item_jax.training import sharding
from item_jax.training.part_weights import weigh_parts
from item_jax.training.restore import restore
from item_jax.training.run import RunRecord

logger = logging.getLogger(__name__)

MODALITIES = ("both", "image", "title")
DTYPES = ("float32", "bfloat16")  # of the computation


class Embedder(Shown):
  """A trained model that embeds images and titles.

  run: what its workdir says of it. step: of the checkpoint. metrics: of
  validation there, if any. config: the run's. categories: what `predict` tells
  apart, in its order; () without categories. space: how vectors are pooled and
  transformed; None: as they were trained. pool, change: its arguments of
  `embed_unit`.
  """

  def __init__(
    self,
    run: RunRecord,
    params: Any,
    *,
    step: int,
    dtype: str,
    space: Space | None = None,
  ):
    self.run, self.step, self.dtype = run, step, dtype
    self.metrics: dict[str, float] = {}
    self.tokenizer: Tokenizer = run.tokenizer
    kernel, why = "xla", ""
    # cuDNN's attention has no float32, and Pallas rounds it.
    if dtype == "bfloat16":
      kernel, why = attention_lib.resume_with(run.attention)
    if kernel != run.attention and why:
      logger.info(f"attention: {kernel} ({why})")
    config = copy.deepcopy(run.config)
    config.model.dtype = dtype
    config.mesh.data, config.mesh.fsdp = jax.local_device_count(), 1
    self.config: Config = config
    # Its own devices only: of many processes each embeds rows of its own.
    self.mesh = sharding.make_mesh(
      jax.local_device_count(), 1, devices=jax.local_devices()
    )
    task = tasks.make_task(
      config, run.tokenizer, categories=run.categories, attention=kernel
    )
    self.task, self.categories = task, run.categories
    # On each of `mesh`'s devices.
    self.params = jax.device_put(params, sharding.replicated(self.mesh))

    @functools.partial(jax.jit, static_argnames=("modality", "pool"))
    def run_batch(params, batch, modality, pool, change):
      return embed_unit(
        task, params, batch, modality=modality, pool=pool, change=change
      )

    @functools.partial(jax.jit, static_argnames="modality")
    def pool_batch(params, batch, modality):
      pooled = task.pool(params, keep_modality(batch, modality))
      return jnp.concatenate([pooled[name] for name in task.pools], axis=-1)

    self._run_batch, self._pool_batch = run_batch, pool_batch
    self._predict_batch = task.predict and jax.jit(task.predict)
    self.enter(space)

  def __str__(self) -> str:
    name = self.config.model.name
    return f"{name}, step {self.step:,}: vectors of {self.dims} values"

  def enter(self, space: Space | None) -> None:
    """Embeds from here on in this space; UserError where the model cannot."""
    self.space, self.dims = space, self.task.dims
    self.pool, self.change = None, None
    if space is None:
      return
    self.pool, transform = space.made["pool"], space.transform
    self.dims = transform.dims(self.pool_dims[self.pool])
    names = ("scale_D", "mean_D", "matrix_DE")
    found = {name: getattr(transform, name) for name in names}
    found |= transform.sides
    found = {name: array for name, array in found.items() if array is not None}
    self.change = jax.device_put(found, sharding.replicated(self.mesh))

  @functools.cached_property
  def pool_dims(self) -> dict[str, int]:
    """How many values each of `task.pools` gives."""
    shapes = jax.eval_shape(
      self.task.pool, self.params, tasks.example_batch(self.config)
    )
    return {name: shapes[name].shape[1] for name in self.task.pools}

  def embed_batch(self, batch: Batch, *, modality: str = "both") -> np.ndarray:
    """Embeds a Batch of numpy, float32 [B,D]; B divisible by the devices."""
    return self._run(self._run_batch, batch, modality, self.pool, self.change)

  def pool_batch(self, batch: Batch, *, modality: str = "both") -> np.ndarray:
    """Embeds a Batch in all of `task.pools`, side by side, of any length."""
    return self._run(self._pool_batch, batch, modality)

  def predict_batch(self, batch: Batch) -> np.ndarray:
    """Predicts log-probabilities of `categories`, float32 [B,C]."""
    self._check_predicts()
    return self._run(self._predict_batch, batch)

  def _run(self, run, batch: Batch, *options) -> np.ndarray:
    placed = sharding.to_devices(self.mesh, len(batch.tokens_BT), batch)
    # A GPU's float32 product is TF32 unless this is set.
    precision = "highest" if self.dtype == "float32" else None
    with jax.default_matmul_precision(precision):
      return fetch(run(self.params, placed, *options), step=self.step)

  def embed(
    self, images: Any = None, titles: Any = None, *, batch_size: int = 64
  ) -> np.ndarray:
    """Embeds images and titles, row for row.

    Args:
      images: one image, or many in anything that has an order: a list, an
        array, a column of a data frame, a generator, which is read as it is
        needed. An image is a path, the bytes of an image file, a file that is
        open, a PIL image of any mode, or an array uint8 or uint16 [H,W] or
        [H,W,C], C from 1 to 4; an array [N,H,W,C] is N images. None, NaN,
        pandas' NA and "" are a missing one. Or a data frame instead, with the
        columns image and title. None altogether: all are missing.
      titles: one string, or many likewise; missing ones likewise, and those
        of blanks. A word such as "nan" is a title as any other.
      batch_size: rows at a time; it does not change the result.

    Returns:
      float32 [N, D], unit rows, equal to what an export of the same listings
      holds; [1, D] for one listing, [0, D] for none. A row with neither of them
      has the null embedding.

    Raises:
      UserError: neither is given, or not as many of one as of the other; or a
        row, counted from 0, holds what is no image or no title.
    """
    parts = self._in_batches(self.embed_batch, images, titles, batch_size)
    return np.concatenate([np.zeros((0, self.dims), np.float32), *parts])

  def embed_split(
    self,
    dataset: str | os.PathLike | Dataset,
    split: str = "test",
    *,
    modality: str = "both",
    batch_size: int = 64,
    workers: int = 0,
  ) -> np.ndarray:
    """Embeds a split of a prepared catalogue, in its order.

    Args:
      dataset: its folder, or of `item_jax.open_dataset` or `prepare`.
      split: which of its splits.
      modality: what the model is shown: "both", "image" or "title".
      batch_size: rows at a time; it does not change the result.
      workers: processes that decode; each runs the calling script once more.

    Returns:
      float32 [N, D], unit rows; the null embedding where a row cannot be read.

    Raises:
      UserError: no such split, or a model that has not this modality.
    """
    check_whole("batch_size", batch_size, at_least=1)
    check_whole("workers", workers, at_least=0)
    self.check_modality(modality)
    dataset = open_dataset(dataset)
    rows = len(dataset.source(split))
    batches = read_split(self, dataset, split, batch_size, workers=workers)
    parts = [self.embed_batch(batch, modality=modality) for batch in batches]
    return np.concatenate(parts)[:rows]

  def check_modality(self, modality: str) -> None:
    """Refuses a modality that the model has no embedding of."""
    known = self.task.modalities
    if modality not in known:
      why = "sees one modality only and gives only"
      raise UserError(
        f"modality={modality!r}: model.name={self.config.model.name!r}"
        f" {'gives' if known == MODALITIES else why} {', '.join(known)}"
      )

  def predict(
    self, images: Any = None, titles: Any = None, *, batch_size: int = 64
  ) -> np.ndarray:
    """Predicts log-probabilities of `categories`, float32 [N,C].

    Takes images and titles as `embed`.

    Raises:
      UserError: as `embed`, or the model was not trained to predict
        categories.
    """
    self._check_predicts()
    parts = self._in_batches(self.predict_batch, images, titles, batch_size)
    none_BC = np.zeros((0, len(self.categories)), np.float32)
    return np.concatenate([none_BC, *parts])

  def _check_predicts(self) -> None:
    if self.task.predict is None:
      raise UserError(
        f"a model trained for task={self.config.task!r} predicts no category:"
        " train one with --config.task=category"
      )

  def _in_batches(self, run, images, titles, batch_size: int) -> list:
    """Runs `run` on images and titles, batch by batch."""
    check_whole("batch_size", batch_size, at_least=1)
    listings = inputs.listings(images, titles)
    parts = []
    while rows := [
      self._row(jpeg, title)
      for jpeg, title in itertools.islice(listings, batch_size)
    ]:
      real = len(rows)
      if not parts:  # later ones have the shape that was compiled
        batch_size = inputs.batch_rows(batch_size, real)
      rows += [rows[-1]] * (batch_size - real)
      batch = Batch(*(np.stack(column) for column in zip(*rows, strict=True)))
      parts.append(run(batch)[:real])
    return parts

  def _row(self, jpeg: bytes | None, title: str | None) -> Batch:
    return pipeline.make_row(
      Record("", "", spaced(title or ""), "", jpeg or b""),
      tokenizer=self.tokenizer,
      image_size=self.config.model.image_size,
      max_title_tokens=self.config.model.max_title_tokens,
    )


def read_split(
  embedder: Embedder, dataset: Dataset, split: str, batch_size: int, **options
) -> Iterator[Batch]:
  """Reads a split as a model sees it, as many rows on each of its devices.

  Options as of `pipeline.ordered_batches`.
  """
  m, chosen = embedder.config.model, options.get("chosen")
  rows = dataset.sizes[split] if chosen is None else len(chosen)
  batches = pipeline.ordered_batches(
    dataset,
    split,
    embedder.tokenizer,
    image_size=m.image_size,
    max_title_tokens=m.max_title_tokens,
    batch_size=inputs.batch_rows(batch_size, rows),
    **options,
  )
  return inputs.explained(batches) if options.get("workers") else batches


def load(
  workdir: str | os.PathLike,
  *,
  step: int | None = None,
  dtype: str = "float32",
  like: str | os.PathLike | None = None,
) -> Embedder:
  """Opens a trained model.

  Args:
    workdir: where `item-jax train` wrote.
    step: which checkpoint; the best by validation by default, the newest
      where none was evaluated. 0 is what the run started from, the untrained
      network as a rule.
    dtype: of the computation; "bfloat16" is quicker on accelerators and
      gives embeddings good to about two digits.
    like: the folder of an export of this run: vectors are pooled and
      transformed as its are, and the checkpoint is its by default.

  Raises:
    UserError: no run, no such checkpoint, or a corrupt one; an export of
      another run.
  """
  if step is not None:
    step = check_whole("step", step, at_least=0)
  if dtype not in DTYPES:
    raise UserError(f"dtype={dtype!r}: known are {', '.join(DTYPES)}")
  space = None
  if like is not None:
    step, space = space_lib.open_like(like, workdir, step)
  found = restore(workdir, step=step)
  params = weigh_parts(found.task, found.params, found.metrics)
  made = Embedder(found.run, params, step=found.step, dtype=dtype, space=space)
  made.metrics = found.metrics or {}
  return made
