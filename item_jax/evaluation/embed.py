"""Makes embeddings: a workdir and photos and titles in, unit rows out."""

import copy
import functools
import io
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import images as images_lib
from item_jax.data import pipeline
from item_jax.data.records import Record
from item_jax.data.tokenizer import Words
from item_jax.errors import UserError
from item_jax.training import sharding
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.workdir import Run, read_run

MODALITIES = ("both", "image", "title")


def keep_side(batch: Batch, modality: str) -> Batch:
  """The batch with one side taken away: "both", "image" or "title"."""
  if modality == "image":
    return batch._replace(has_title_B=batch.has_title_B & False)
  if modality == "title":
    return batch._replace(has_image_B=batch.has_image_B & False)
  return batch


def embed_unit(task: tasks.Task, params, batch: Batch, *, modality: str):
  """float32 [B,D], rows of unit length; to be jitted."""
  g_BD = task.embed(params, keep_side(batch, modality))
  return g_BD / jnp.linalg.norm(g_BD, axis=-1, keepdims=True)


class Embedder:
  """A trained model: photos and titles in, float32 [N, D] unit rows out."""

  def __init__(self, run: Run, params, *, step: int, dtype: str):
    self.run = run
    self.step = step
    self.dtype = dtype
    self.words: Words = run.words
    # cuDNN's attention has no float32.
    kernel = run.attention if dtype == "bfloat16" else "xla"
    config = copy.deepcopy(run.config)
    config.model.dtype = dtype
    self.config: Config = config
    self.mesh = sharding.make_mesh(jax.device_count(), 1)
    task = tasks.make_task(config, run.words, attention=kernel)
    self._params = jax.device_put(params, sharding.replicated(self.mesh))
    precision = "highest" if dtype == "float32" else None

    @functools.partial(jax.jit, static_argnames="modality")
    def run_batch(params, batch, modality):
      # A GPU's float32 product is TF32 unless told otherwise.
      with jax.default_matmul_precision(precision):
        return embed_unit(task, params, batch, modality=modality)

    self._run_batch = run_batch

  def embed_batch(self, batch: Batch, *, modality: str = "both"):
    """float32 [B,D] for a Batch of numpy; B divisible by the devices."""
    placed = sharding.to_devices(self.mesh, len(batch.words_BT), batch)
    return np.asarray(self._run_batch(self._params, placed, modality))

  def embed(
    self,
    images: Sequence | None = None,
    titles: Sequence[str | None] | None = None,
    *,
    batch_size: int = 64,
  ) -> np.ndarray:
    """Embeds photos and titles, row for row.

    Args:
      images: paths, PIL images, uint8 arrays [H,W], [H,W,3] or [H,W,4], or
        None where a photo is missing. Absent altogether: all missing.
      titles: strings, or None (or "") where a title is missing.
      batch_size: rows at a time; it does not change the result.

    Returns:
      float32 [N, D], unit rows, equal to what an export of the same listings
      holds. A row with neither side has the embedding of nothing.

    Raises:
      UserError: the two lengths differ, or neither is given.
      item_jax.data.images.BadImage: a photo cannot be read.
    """
    if images is None and titles is None:
      raise UserError("embed() needs images, titles or both")
    if images is None:
      images = [None] * len(titles)
    if titles is None:
      titles = [None] * len(images)
    if len(images) != len(titles):
      raise UserError(f"{len(images)} images but {len(titles)} titles")
    devices = jax.device_count()
    batch_size = -(-batch_size // devices) * devices
    parts = []
    for first in range(0, len(images), batch_size):
      rows = [
        self._row(image, title)
        for image, title in zip(
          images[first : first + batch_size],
          titles[first : first + batch_size],
          strict=True,
        )
      ]
      real = len(rows)
      rows += [rows[-1]] * (batch_size - real)
      batch = Batch(*(np.stack(column) for column in zip(*rows, strict=True)))
      parts.append(self.embed_batch(batch)[:real])
    if not parts:
      return np.zeros((0, self.config.model.width), np.float32)
    return np.concatenate(parts)

  def _row(self, image, title: str | None) -> Batch:
    jpeg = b"" if image is None else images_lib.store_jpeg(_file_bytes(image))
    return pipeline.make_row(
      Record("", "", title or "", "", jpeg),
      words=self.words,
      image_size=self.config.model.image_size,
      title_places=self.config.model.title_places,
    )


def load(
  workdir, *, step: int | None = None, dtype: str = "float32"
) -> Embedder:
  """Opens a trained model.

  Args:
    workdir: where `item-jax train` wrote.
    step: which checkpoint; the best by validation MAP@10 by default, the
      newest where none was evaluated. 0 is the untrained network.
    dtype: of the computation; "bfloat16" is quicker on accelerators and
      gives embeddings good to about two digits.

  Raises:
    UserError: no run, no such checkpoint, or a corrupt one.
  """
  workdir = Path(workdir)
  run = read_run(workdir)
  if run.preprocessing != images_lib.PREPROCESSING:
    raise UserError(
      f"{workdir} was trained on photos prepared as {run.preprocessing!r},"
      f" this version prepares {images_lib.PREPROCESSING!r}"
    )
  task = tasks.make_task(run.config, run.words)
  initial = functools.partial(tasks.initial_params, task, run.config.seed)
  if step == 0:
    return Embedder(run, jax.jit(initial)(), step=0, dtype=dtype)
  checkpoints = Checkpoints(workdir, read_only=True)
  steps = checkpoints.steps()
  if not steps:
    raise UserError(f"{workdir} has no checkpoint yet")
  if step is None:
    step = checkpoints.best_step() or steps[-1]
  if step not in steps:
    raise UserError(f"{workdir} has no checkpoint {step}; it has {steps}")
  params = checkpoints.restore_params(step, jax.eval_shape(initial))
  checkpoints.close()
  return Embedder(run, params, step=step, dtype=dtype)


def _file_bytes(image) -> bytes:
  """A photo in any of the accepted forms as the bytes of a file."""
  if isinstance(image, (str, Path)):
    return Path(image).read_bytes()
  if isinstance(image, np.ndarray):
    if image.dtype != np.uint8 or not (
      image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    ):
      raise UserError(
        "an array of a photo is uint8 [H,W], [H,W,3] or [H,W,4], not"
        f" {image.dtype} {list(image.shape)}"
      )
    image = Image.fromarray(image)
  if not isinstance(image, Image.Image):
    raise UserError(
      "a photo is a path, a PIL image, an array or None, not"
      f" {type(image).__name__}"
    )
  if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
    image = image.convert("RGB")  # PNG has no CMYK
  file = io.BytesIO()
  image.save(file, "PNG", exif=image.getexif(), compress_level=0)
  return file.getvalue()
