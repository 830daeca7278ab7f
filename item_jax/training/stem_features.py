"""Computes a frozen stem's features once, for all steps of all runs.

A file of each split, whose name says what it was computed of: the split's
records, the stem's weights, the pixels and the places a side. It appears when
it is whole; a call that is killed is continued by the next one.
"""

import copy
import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from item_jax.bars import show_bar
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import pipeline
from item_jax.data.grids import Grids, sums_path, write_sums
from item_jax.data.records import Dataset
from item_jax.data.tokenizer import Tokenizer
from item_jax.distributed.barrier import Barrier
from item_jax.distributed.progress import NullListener, ProgressListener
from item_jax.errors import UserError
from item_jax.files import exclusive_lock, read_json, write_json
from item_jax.models.stem import Stem
from item_jax.models.stems import make_stem
from item_jax.training import sharding

logger = logging.getLogger(__name__)

_ROWS = 64  # that a device computes at a time
_FLUSH = 16  # batches between two notes of how far it is


def fingerprint(params: Any) -> str:
  """SHA-256 of a stem's parameters, their names included."""
  found = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    found.update(jax.tree_util.keystr(path).encode())
    found.update(np.ascontiguousarray(leaf, np.float32).tobytes())
  return found.hexdigest()


def open_grids(
  config: Config,
  store: Dataset,
  tokenizer: Tokenizer,
  *,
  weights: str,
  params: Callable[[], Any],
  progress: ProgressListener | None = None,
) -> dict[str, Grids]:
  """Opens {split: features} of the splits that a run reads.

  What is missing is computed by process 0, in float32 on its own devices.

  Args:
    weights: `fingerprint` of the stem's parameters.
    params: () -> those; called only where something is missing.
    progress: is informed of each batch; a step of "set up" is a row.

  Raises:
    UserError: the folder has too little room, or another process writes to it;
      a file is not whole; other weights than those are there now.
    item_jax.distributed.barrier.OtherProcessError: process 0 failed.
  """
  stem = make_stem(_in_float32(config))
  assert stem is not None  # `config_check` sees to it
  folder = Path(config.data.features)
  if config.data.features == "auto":
    folder = store.path.with_name(store.path.name + ".features")
  paths = {
    split: folder / _name(config, store, split, stem, weights)
    for split in dict.fromkeys((config.data.train_split, config.data.val_split))
  }
  with Barrier() as barrier:
    if jax.process_index() == 0:
      missing = {
        split: path
        for split, path in paths.items()
        if not (path.is_file() and sums_path(path).is_file())
      }
      if missing:
        found = params()
        if fingerprint(found) != weights:
          raise UserError(
            f"{folder} lacks the features of this run, and the stem's weights"
            f" are no longer those it began with (stem_from={config.stem_from})"
          )
        with exclusive_lock(folder, what="writer of features"):
          for split, path in missing.items():
            parts = functools.partial(
              _compute, config, store, tokenizer, split, stem, found
            )
            _write(
              path,
              parts,
              _shape(store, split, stem),
              of=split,
              progress=progress or NullListener(),
            )
    barrier.wait()
  return {
    split: _open(path, _shape(store, split, stem))
    for split, path in paths.items()
  }


def _shape(store: Dataset, split: str, stem: Stem) -> tuple[int, ...]:
  return store.sizes[split], stem.side, stem.side, stem.values


def _open(path: Path, shape: tuple[int, ...]) -> Grids:
  """Opens a file of features that may have been copied, and cut, since."""
  try:
    grids = Grids(path)
    found = f"its shape is {grids.shape}"
  except (ValueError, EOFError) as error:
    grids, found = None, str(error)
  if grids is None or grids.shape != shape:
    raise UserError(
      f"{path} does not hold the features {shape} that were written: {found};"
      " without it they are computed again"
    )
  return grids


def _in_float32(config: Config) -> Config:
  config = copy.deepcopy(config)
  config.model.dtype = "float32"
  return config


def _name(config: Config, store: Dataset, split: str, stem: Stem, weights: str):
  m = config.model
  of = (store.fingerprints[split], weights, m.stem, m.image_size, stem.side)
  of += (stem.seen,) * bool(stem.seen)
  key = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:32]
  return f"{split}-{key}.npy"


def _write(
  path: Path,
  compute: Callable[[int], Iterator[np.ndarray]],
  shape: tuple[int, ...],
  *,
  of: str,
  progress: ProgressListener,
) -> None:
  """Writes what `compute` yields from a row on; goes on where it was killed."""
  rows = shape[0]
  part = path.with_suffix(".part")
  note = path.with_suffix(".rows")  # how many of the part are on the disk
  done = read_json(note) if note.is_file() and part.is_file() else 0
  if not done:
    note.unlink(missing_ok=True)  # of a part that is no more
    size = rows * int(np.prod(shape[1:])) * 2
    free = shutil.disk_usage(path.parent).free
    logger.info(
      f"features of {of}: {rows:,} images of {shape[1:]} float16,"
      f" {size / 1e9:.2f} GB in {path}"
    )
    if size > free:
      raise UserError(
        f"{path.parent} (data.features): {size / 1e9:.2f} GB are needed,"
        f" and {free / 1e9:.2f} GB are free; model.stem_grid=4 needs less"
      )
  values = np.lib.format.open_memmap(
    part, mode="r+" if done else "w+", dtype=np.float16, shape=shape
  )
  if not done and hasattr(os, "posix_fallocate"):
    # A disk that fills up later would end the process without a word.
    with part.open("r+b") as file:
      os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
  with show_bar(total=rows, initial=done, desc=of) as bar:
    for number, found in enumerate(compute(done), start=1):
      found = found[: rows - done]
      values[done : done + len(found)] = found
      done += len(found)
      bar.update(len(found))
      progress.update("set up", done)  # hours of a large catalogue
      if number % _FLUSH == 0:
        values.flush()
        write_json(note, done)
  values.flush()
  write_sums(path, values)
  part.replace(path)
  note.unlink(missing_ok=True)


def _compute(
  config, store, tokenizer, split, stem: Stem, params, first: int
) -> Iterator[np.ndarray]:
  """Yields the features of the rows from `first` on; the last may be double."""
  mesh = sharding.make_mesh(
    jax.local_device_count(), 1, devices=jax.local_devices()
  )
  params = jax.device_put(params, sharding.replicated(mesh))
  batch_size = _ROWS * jax.local_device_count()

  @jax.jit
  def compute(params, batch):
    with jax.default_matmul_precision("highest"):
      return stem.grid(params, batch).astype("float16")

  for batch in _read(
    config,
    store,
    tokenizer,
    split,
    range(first, store.sizes[split]),
    batch_size,
  ):
    placed = sharding.to_devices(mesh, batch_size, batch)
    found = np.array(compute(params, placed))
    found[~batch.has_image_B] = 0
    found[batch.bad_B, 0, 0, 0] = np.nan
    yield found


def sample(
  config, store, tokenizer, grids: dict[str, Grids], rows: int
) -> Iterator[Batch]:
  """Reads rows spread over the training split, as its steps read them."""
  split = config.data.train_split
  chosen = np.unique(np.linspace(0, store.sizes[split] - 1, rows).astype(int))
  size = min(32, len(chosen))
  chosen = chosen[: len(chosen) // size * size]
  return _read(
    config, store, tokenizer, split, chosen.tolist(), size, grids.get(split)
  )


def _read(config, store, tokenizer, split, chosen, batch_size, grids=None):
  return pipeline.ordered_batches(
    store,
    split,
    tokenizer,
    image_size=config.model.image_size,
    max_title_tokens=config.model.max_title_tokens,
    batch_size=batch_size,
    chosen=chosen,
    grids=grids,
    workers=config.data.workers,
    read_threads=config.data.read_threads,
    prefetch=config.data.prefetch,
  )
