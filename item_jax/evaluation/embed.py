"""Makes embeddings: a workdir and photos and titles in, unit rows out; to a
folder of .npy for evaluation, or to an array for a notebook.

The one module of evaluation that uses jax.
"""

import csv
import functools
import hashlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import images as images_lib
from item_jax.data import pipeline
from item_jax.data.records import Record, open_store
from item_jax.data.tokenizer import Words
from item_jax.errors import UserError
from item_jax.training import sharding
from item_jax.training.checkpoints import Checkpoints, write_json
from item_jax.training.workdir import Run, read_run

MODALITIES = ("both", "image", "title")
EXPORT_FORMAT = 1
SHARD_ROWS = 8_192
ITEM_COLUMNS = ("id", "product", "category", "title")


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
    config: Config = run.config
    config.model.dtype = dtype
    # cuDNN's attention has no float32.
    kernel = run.attention if dtype == "bfloat16" else "xla"
    self.config = config
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


class _Plan(NamedTuple):
  """What an export is of; a second call goes on only with the same."""

  format: int
  step: int
  checkpoint: str
  tokenizer: str
  preprocessing: str
  data: str
  split: str
  modality: str
  dtype: str
  rows: int
  dims: int
  shard_rows: int


def export(
  workdir,
  *,
  data,
  split: str,
  out,
  modality: str = "both",
  step: int | None = None,
  batch_size: int = 256,
  dtype: str = "float32",
  workers: int = 0,
  overwrite: bool = False,
) -> None:
  """Writes the embeddings of a split: embeddings.npy, items.csv, meta.json.

  The rows are written in shards, each to a temporary name first; a call that
  is killed is continued by the same call. meta.json comes last: a folder
  without it is not finished.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export.
  """
  if modality not in MODALITIES:
    raise UserError(f"modality={modality!r}: known are {', '.join(MODALITIES)}")
  out = Path(out)
  embedder = load(workdir, step=step, dtype=dtype)
  store = open_store(data)
  source = store.source(split)
  run = embedder.run
  for name, ours, theirs in (
    ("tokenizer", run.tokenizer, store.catalogue["tokenizer"]),
    ("preprocessing", run.preprocessing, store.catalogue["preprocessing"]),
  ):
    if ours != theirs:
      raise UserError(
        f"{data} was prepared with {name} {theirs!r}, {workdir} was trained"
        f" with {ours!r}: prepare the catalogue with --tokenizer"
        f" {Path(workdir) / 'tokenizer.json'}"
      )
  plan = _Plan(
    format=EXPORT_FORMAT,
    step=embedder.step,
    checkpoint=_checkpoint_id(Path(workdir), embedder.step),
    tokenizer=run.tokenizer,
    preprocessing=run.preprocessing,
    data=store.fingerprints[split],
    split=split,
    modality=modality,
    dtype=dtype,
    rows=len(source),
    dims=run.config.model.width,
    shard_rows=SHARD_ROWS,
  )
  if not _claim(out, plan, overwrite=overwrite):
    print(f"{out} is finished already: {plan.rows} rows, nothing to do")
    return
  lacking = _write_shards(embedder, store, plan, out, batch_size, workers)
  _finish(out, plan, source, lacking, workdir)


def _claim(out: Path, plan: _Plan, *, overwrite: bool) -> bool:
  """Takes the folder for this export; False where it is already done."""
  for name in ("meta.json", "plan.json"):
    path = out / name
    if not path.exists():
      continue
    before = json.loads(path.read_text())
    differing = {
      k: (before.get(k), v)
      for k, v in plan._asdict().items()
      if before.get(k) != v
    }
    if not differing:
      return name != "meta.json"
    if not overwrite:
      raise UserError(
        f"{out} holds another export, differing (there, asked) in"
        f" {differing}; give --overwrite or another --out"
      )
    break
  else:
    if out.exists() and any(out.iterdir()):
      raise UserError(f"{out} is not empty and holds no export")
  shutil.rmtree(out, ignore_errors=True)
  (out / "parts").mkdir(parents=True)
  write_json(out / "plan.json", plan._asdict())
  return True


def _part(out: Path, number: int) -> Path:
  return out / "parts" / f"{number:05d}.npy"


def _write_shards(embedder, store, plan, out, batch_size, workers) -> int:
  """Embeds what shards are missing; rows that lack the side asked for."""
  devices = jax.device_count()
  batch_size = -(-batch_size // devices) * devices
  shards = -(-plan.rows // plan.shard_rows)
  done = 0
  while done < shards and _part(out, done).exists():
    done += 1
  first = done * plan.shard_rows
  m = embedder.config.model
  batches = pipeline.ordered_batches(
    store,
    plan.split,
    embedder.words,
    image_size=m.image_size,
    title_places=m.title_places,
    batch_size=batch_size,
    start_row=first,
    workers=workers,
  )
  held, row = [], first
  bar = tqdm(total=plan.rows, initial=first, unit="row", desc=plan.modality)
  with bar:
    for batch in batches:
      real = min(batch_size, plan.rows - row)
      held.append(embedder.embed_batch(batch, modality=plan.modality)[:real])
      row += real
      bar.update(real)
      while done < shards and row >= min(
        (done + 1) * plan.shard_rows, plan.rows
      ):
        rows_ND = np.concatenate(held)
        size = min(plan.shard_rows, plan.rows - done * plan.shard_rows)
        _save_npy(_part(out, done), rows_ND[:size])
        held, done = [rows_ND[size:]], done + 1
  return shards


def _save_npy(path: Path, array) -> None:
  part = path.with_name(path.name + ".part")
  with part.open("wb") as file:
    np.save(file, array, allow_pickle=False)
  part.replace(path)


def _finish(out: Path, plan: _Plan, source, shards: int, workdir) -> None:
  """Joins the shards, writes the items and, last, the meta data."""
  part = out / "embeddings.npy.part"
  joined = np.lib.format.open_memmap(
    part, mode="w+", dtype=np.float32, shape=(plan.rows, plan.dims)
  )
  for number in range(shards):
    rows_ND = np.load(_part(out, number), allow_pickle=False)
    first = number * plan.shard_rows
    joined[first : first + len(rows_ND)] = rows_ND
  joined.flush()
  del joined
  part.replace(out / "embeddings.npy")
  lacking = 0
  part = out / "items.csv.part"
  with part.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(ITEM_COLUMNS)
    for record in source:
      lacking += {
        "both": not (record.image or record.title),
        "image": not record.image,
        "title": not record.title,
      }[plan.modality]
      writer.writerow(
        [record.listing_id, record.product_id, record.category, record.title]
      )
  part.replace(out / "items.csv")
  with (out / "embeddings.npy").open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  write_json(
    out / "meta.json",
    {
      **plan._asdict(),
      "sha256": digest,
      "rows_without_this_side": lacking,
      "workdir": Path(workdir).name,
    },
  )
  (out / "plan.json").unlink()
  shutil.rmtree(out / "parts")
  if lacking:
    print(
      f"{lacking} of {plan.rows} rows have no {plan.modality}: all of them got"
      " the embedding of nothing"
    )
  print(
    f"{out}: {plan.rows} rows of {plan.dims}, {plan.modality}, step {plan.step}"
  )


def _checkpoint_id(workdir: Path, step: int) -> str:
  """A fingerprint of the weights: of the manifest, of run.json for step 0."""
  manifest = workdir / "checkpoints" / str(step) / "manifest.json"
  path = manifest if step else workdir / "run.json"
  return hashlib.sha256(path.read_bytes()).hexdigest()


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
