"""Writes the embeddings of a split, in shards that survive a kill."""

import contextlib
import hashlib
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
from item_jax.inference import space as space_lib
from item_jax.inference.embed_parts import embed_parts
from item_jax.inference.embedder import (
  MODALITIES,
  Embedder,
  check_batch_size,
  load,
)
from item_jax.inference.fit_space import Asked, settle
from item_jax.inference.space import checkpoint_id, describe
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
  pool: str | None = None,
  whiten: str = "none",
  like: str | os.PathLike | None = None,
  progress: ProgressListener | None = None,
) -> Export:
  """Writes the embeddings of a split: embeddings.npy, items.csv, meta.json.

  The rows are written in shards; a call that is killed is continued by the same
  call. meta.json comes last: a folder without it is not finished.

  Many processes divide the shards; each reads, decodes and embeds its own rows
  on its own devices. What is written is the same, to the bit, for any number
  of processes and of devices of one kind, also where others began it.

  A row that cannot be read stays, with the null embedding; meta.json names it.

  Args:
    workdir, step, dtype: of the model; as of `embedder.load`.
    data: a prepared catalogue: a `Dataset` or its folder.
    split: of the data.
    out: the folder to write.
    modality: what the model is shown: "both", "image" or "title".
    batch_size: rows that a device embeds at a time.
    workers: processes that decode.
    overwrite: whether another export in `out` is replaced.
    pool: of the network's states; None as trained; `fit_space.Asked` says more.
    whiten: "none", "centre", "whiten" or "auto"; likewise.
    like: another export of the run, whose pool and transform are taken.
    progress: is informed of what is next; a step is a row.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export, or in which another is at work, or
      that not all processes see.
    OSError: it could not be written; the same call goes on later.
    item_jax.distributed.barrier.OtherProcessError: another process failed.
  """
  out, asked = Path(out), Asked(pool, whiten, like)
  notify = (progress or NullListener()).update
  first = jax.process_index() == 0
  with Barrier() as barrier, contextlib.ExitStack() as stack:
    embedder, dataset, plan = _open(
      workdir, data, split, modality, step, dtype, batch_size, asked
    )
    barrier.wait()
    missing = made = None
    if first:
      stack.enter_context(export_shards.exclusive_folder(out))
      how = {"overwrite": overwrite, "notify": lambda n: notify("set up", n)}
      sizes = batch_size, workers
      made = settle(out, plan, asked, embedder, dataset, *sizes, **how)
      missing = _acquire(out, _in_space(plan, made), **how)
    missing, made = barrier.broadcast([missing, made])
    if missing is None:
      return Export(out)
    plan = _enter(out, plan, embedder, made)
    barrier.wait()
    _write_shards(
      out, plan, missing, embedder, dataset, batch_size, workers, notify
    )
    notify("join", plan.rows)
    barrier.wait()
    if first:
      _finish(out, plan, workdir, embedder, notify)
    barrier.wait()
  return Export(out)


def _open(
  workdir, data, split, modality, step, dtype, batch_size, asked: Asked
) -> tuple[Embedder, Dataset, export_shards.Plan]:
  check_batch_size(batch_size)
  if modality not in MODALITIES:
    raise UserError(f"modality={modality!r}: known are {', '.join(MODALITIES)}")
  embedder = load(workdir, step=step, dtype=dtype, like=asked.like)
  asked.check(embedder)
  dataset = data if isinstance(data, Dataset) else open_dataset(data)
  rows = len(dataset.source(split))
  run = embedder.run
  embedder.check_modality(modality)
  check_data(run, dataset, workdir)
  plan = export_shards.Plan(
    format=EXPORT_FORMAT,
    step=embedder.step,
    checkpoint=checkpoint_id(Path(workdir), embedder.step),
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


def _acquire(out: Path, plan: export_shards.Plan, **how) -> list[int] | None:
  """Takes the folder, as `export_shards.acquire`; logs where all is done."""
  missing = export_shards.acquire(out, plan, **how)
  if missing is None:
    logger.info(f"{out} is finished already: {plan.rows} rows, nothing to do")
  return missing


def _in_space(plan: export_shards.Plan, made) -> export_shards.Plan:
  """The plan of an export whose vectors are in a space of their own.

  Its checkpoint is a name of the weights and the space: vectors of another one
  are those of another system.
  """
  if made is None:
    return plan
  system = " ".join((plan.checkpoint, made["pool"], made["sha256"]))
  return plan._replace(
    checkpoint=hashlib.sha256(system.encode()).hexdigest(),
    dims=made["dims"],
    space=describe(made),
  )


def _enter(out: Path, plan: export_shards.Plan, embedder: Embedder, made):
  """Takes the space that process 0 has found; returns the plan in it."""
  plan = _in_space(plan, made)
  export_shards.check_seen(out, plan)
  embedder.enter(made and space_lib.read(out, made))
  return plan


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
  """Raises UserError where data were not prepared as the run's were.

  A run with a tokenizer of its own has cut the titles of its data by that.
  """
  theirs = dataset.catalogue["tokenizer"]
  ours = theirs if run.config.data.tokenizer else run.tokenizer.fingerprint
  for name, trained, prepared in (
    ("tokenizer", ours, theirs),
    ("preprocessing", run.preprocessing, dataset.catalogue["preprocessing"]),
  ):
    if trained != prepared:
      raise UserError(
        f"{dataset.path} was prepared with {name} {prepared!r}, {workdir} was"
        f" trained with {trained!r}: prepare the catalogue with --tokenizer"
        f" {Path(workdir) / 'tokenizer.json'}"
      )


def _finish(
  out: Path,
  plan: export_shards.Plan,
  workdir,
  embedder: Embedder,
  notify: Callable[[str, int], None],
) -> None:
  """Joins the shards, and writes, last, the meta data."""

  def joins(shard: int) -> None:  # it counts as a step after the last row
    notify("join", plan.rows + shard)

  lacking, unreadable = 0, []
  for row, item in enumerate(export_shards.join(out, plan, joins)):
    if item.unreadable:
      unreadable.append({"row": row, "id": item.id})
      continue
    lacking += export_shards.sees_nothing(item, plan.modality)
  names = (*EXPORTED, *space_lib.finish(out, embedder.space))
  write_checksummed(
    out / "meta.json",
    {
      **plan.to_dict(),
      "files": {name: sha256(out / name) for name in names},
      "rows_without_this_side": lacking,
      "unreadable": unreadable,
      "workdir": Path(workdir).name,
      **({"made": embedder.space.made} if embedder.space else {}),
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
    + (f", {plan.space}" if plan.space else "")
  )
