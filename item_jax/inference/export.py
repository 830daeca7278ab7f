"""Writes the embeddings of a split, in shards that survive a kill."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import jax

from item_jax.data.records import Dataset, open_dataset
from item_jax.data.unreadable import listed
from item_jax.distributed.barrier import Barrier
from item_jax.distributed.progress import NullListener, ProgressListener
from item_jax.errors import UserError
from item_jax.evaluation.items import EXPORTED, Export
from item_jax.files import sha256, write_checksummed
from item_jax.inference import export_shards
from item_jax.inference.embed_parts import embed_parts
from item_jax.inference.embedder import (
  MODALITIES,
  Embedder,
  check_batch_size,
  load,
)
from item_jax.training.run import RunRecord

logger = logging.getLogger(__name__)

EXPORT_FORMAT = 3
SHARD_ROWS = 8_192


def export(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset,
  split: str,
  out: str | os.PathLike,
  modality: str = "both",
  step: int | None = None,
  batch_size: int = 256,
  dtype: str = "float32",
  workers: int = 0,
  overwrite: bool = False,
  progress: ProgressListener | None = None,
) -> Export:
  """Writes the embeddings of a split: embeddings.npy, items.csv, meta.json.

  The rows are written in shards; a call that is killed is continued by the same
  call. meta.json comes last: a folder without it is not finished.

  Many processes divide the shards; each reads, decodes and embeds its own rows
  on its own devices. What is written is the same, to the bit, for any number
  of processes and of devices of one kind, also where others began it.

  A row that cannot be read stays, with the null embedding; it is named, in
  meta.json ("unreadable") too.

  Args:
    workdir, step, dtype: of the model; as of `embedder.load`.
    data: a prepared catalogue: a `Dataset` or its folder.
    split: of the data.
    out: the folder to write.
    modality: what the model is shown: "both", "image" or "title".
    batch_size: rows that a device embeds at a time.
    workers: processes that decode.
    overwrite: whether another export in `out` is replaced.
    progress: is informed of what is next; a step is a row.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export, or in which another is at work, or
      that not all processes see.
    OSError: it could not be written; the same call goes on later.
    item_jax.distributed.barrier.OtherProcessError: another process failed.
  """
  out = Path(out)
  notify = (progress or NullListener()).update
  first = jax.process_index() == 0
  with Barrier() as barrier, contextlib.ExitStack() as stack:
    embedder, dataset, plan = _open(
      workdir, data, split, modality, step, dtype, batch_size
    )
    barrier.wait()
    missing = None
    if first:
      stack.enter_context(export_shards.exclusive_folder(out))
      missing = export_shards.acquire(
        out, plan, overwrite=overwrite, notify=lambda n: notify("set up", n)
      )
    missing = barrier.broadcast(missing)
    if missing is None:
      if first:
        logger.info(
          f"{out} is finished already: {plan.rows} rows, nothing to do"
        )
      return Export(out)
    export_shards.check_seen(out, plan)
    barrier.wait()
    _write_shards(
      out, plan, missing, embedder, dataset, batch_size, workers, notify
    )
    notify("join", plan.rows)
    barrier.wait()
    if first:  # all shards count as so many steps after the last row
      _finish(out, plan, workdir, lambda n: notify("join", plan.rows + n))
    barrier.wait()
  return Export(out)


def _open(
  workdir, data, split, modality, step, dtype, batch_size
) -> tuple[Embedder, Dataset, export_shards.Plan]:
  check_batch_size(batch_size)
  if modality not in MODALITIES:
    raise UserError(f"modality={modality!r}: known are {', '.join(MODALITIES)}")
  embedder = load(workdir, step=step, dtype=dtype)
  dataset = data if isinstance(data, Dataset) else open_dataset(data)
  rows = len(dataset.source(split))
  run = embedder.run
  embedder.check_modality(modality)
  check_data(run, dataset, workdir)
  plan = export_shards.Plan(
    format=EXPORT_FORMAT,
    step=embedder.step,
    checkpoint=_checkpoint_id(Path(workdir), embedder.step),
    tokenizer=run.tokenizer.fingerprint,
    preprocessing=run.preprocessing,
    data=dataset.fingerprints[split],
    split=split,
    modality=modality,
    dtype=dtype,
    rows=rows,
    dims=embedder.task.dims,
    shard_rows=SHARD_ROWS,
  )
  return embedder, dataset, plan


def _write_shards(
  out: Path,
  plan: export_shards.Plan,
  missing: list[int],
  embedder: Embedder,
  dataset: Dataset,
  batch_size: int,
  workers: int,
  notify: Callable[[str, int], None],
) -> None:
  """Embeds and writes this process's part of the missing shards."""
  mine = missing[jax.process_index() :: jax.process_count()]
  parts = embed_parts(
    embedder,
    dataset,
    plan.split,
    [export_shards.rows_of(plan, number) for number in mine],
    modality=plan.modality,
    device_rows=min(batch_size, plan.rows),
    workers=workers,
    notify=lambda row: notify("step", row),
  )
  for number, part in zip(mine, parts, strict=True):
    export_shards.save(out, plan, number, *part)


def check_data(
  run: RunRecord, dataset: Dataset, workdir: str | os.PathLike
) -> None:
  """Raises UserError where data were not prepared as the run's were."""
  for name, ours, theirs in (
    ("tokenizer", run.tokenizer.fingerprint, dataset.catalogue["tokenizer"]),
    ("preprocessing", run.preprocessing, dataset.catalogue["preprocessing"]),
  ):
    if ours != theirs:
      raise UserError(
        f"{dataset.path} was prepared with {name} {theirs!r}, {workdir} was"
        f" trained with {ours!r}: prepare the catalogue with --tokenizer"
        f" {Path(workdir) / 'tokenizer.json'}"
      )


def _finish(
  out: Path,
  plan: export_shards.Plan,
  workdir,
  notify: Callable[[int], None],
) -> None:
  """Joins the shards, and writes, last, the meta data."""
  lacking, unreadable = 0, []
  for row, item in enumerate(export_shards.join(out, plan, notify)):
    if item.unreadable:
      unreadable.append({"row": row, "id": item.id})
      continue
    lacking += {
      "both": not (item.has_image or item.has_title),
      "image": not item.has_image,
      "title": not item.has_title,
    }[plan.modality]
  write_checksummed(
    out / "meta.json",
    {
      **plan._asdict(),
      "files": {name: sha256(out / name) for name in EXPORTED},
      "rows_without_this_side": lacking,
      "unreadable": unreadable,
      "workdir": Path(workdir).name,
    },
  )
  export_shards.tidy(out)
  if lacking:
    logger.info(
      f"{lacking} of {plan.rows} rows have no {plan.modality}: all of them got"
      " the null embedding"
    )
  if unreadable:
    named = [f"row {bad['row']} ({bad['id']})" for bad in unreadable]
    logger.info(
      f"{len(unreadable)} of {plan.rows} rows could not be read and got the"
      f" null embedding: {listed(named)}"
    )
  logger.info(
    f"{out}: {plan.rows} rows of {plan.dims}, {plan.modality}, step {plan.step}"
  )


def _checkpoint_id(workdir: Path, step: int) -> str:
  """A fingerprint of the weights: of the manifest, of run.json for step 0."""
  manifest = workdir / "checkpoints" / str(step) / "manifest.json"
  path = manifest if manifest.is_file() else workdir / "run.json"
  return sha256(path)
