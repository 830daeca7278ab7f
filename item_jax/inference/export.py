"""Writes the embeddings of a split: a workdir and a store in; embeddings.npy,
items.csv and meta.json out, in shards that survive a kill."""

import contextlib
from pathlib import Path

import jax

from item_jax.data.records import Store, open_store
from item_jax.data.unreadable import listed
from item_jax.errors import UserError
from item_jax.evaluation.items import EXPORTED
from item_jax.files import sha256, write_checksummed
from item_jax.inference import export_shards, hosts
from item_jax.inference.embed_parts import embed_parts
from item_jax.inference.embedder import (
  MODALITIES,
  Embedder,
  check_batch_size,
  load,
)
from item_jax.training.run import RunRecord

EXPORT_FORMAT = 3
SHARD_ROWS = 8_192


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
  progress=None,
) -> None:
  """Writes the embeddings of a split: embeddings.npy, items.csv, meta.json.

  The rows are written in shards, each to a temporary name first; a call that
  is killed is continued by the same call. meta.json comes last: a folder
  without it is not finished.

  Many processes share the shards; each reads, decodes and embeds its own rows
  on its own devices. What is written is the same, to the bit, for any number
  of processes and of devices of one kind, also where others began it.

  A row that cannot be read keeps its place with the embedding of nothing; it
  is named, in meta.json ("unreadable") too.

  Args:
    batch_size: rows that a device embeds at a time.
    progress: `distributed.progress.ProgressListener`; a step is a row.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export, or in which another is at work, or
      that not all processes see.
    OSError: it could not be written; the same call goes on later.
    item_jax.inference.hosts.ElsewhereError: another process failed.
  """
  out = Path(out)
  at = progress.update if progress else lambda stage, step: None
  embedder, store, plan = hosts.together(
    lambda: _open(workdir, data, split, modality, step, dtype, batch_size)
  )
  with contextlib.ExitStack() as held:

    def claim():
      held.enter_context(export_shards.alone(out))
      return export_shards.claim(
        out, plan, overwrite=overwrite, at=lambda shard: at("set up", shard)
      )

    missing = hosts.together(claim, first=True)
    if missing is None:
      if jax.process_index() == 0:
        print(f"{out} is finished already: {plan.rows} rows, nothing to do")
      return
    hosts.together(lambda: export_shards.check_seen(out, plan))
    mine = missing[jax.process_index() :: jax.process_count()]

    def write():
      parts = embed_parts(
        embedder,
        store.source(split),
        split,
        [export_shards.rows_of(plan, number) for number in mine],
        modality=modality,
        device_rows=min(batch_size, plan.rows),
        workers=workers,
        at=lambda row: at("step", row),
      )
      for number, (rows_ND, items) in zip(mine, parts, strict=True):
        export_shards.save(out, plan, number, rows_ND, items)
      at("join", plan.rows)

    hosts.together(write)
    # All shards are as many steps further than the last row.
    hosts.together(
      lambda: _finish(
        out, plan, workdir, lambda shard: at("join", plan.rows + shard)
      ),
      first=True,
    )


def _open(
  workdir, data, split, modality, step, dtype, batch_size
) -> tuple[Embedder, Store, export_shards.Plan]:
  check_batch_size(batch_size)
  if modality not in MODALITIES:
    raise UserError(f"modality={modality!r}: known are {', '.join(MODALITIES)}")
  embedder = load(workdir, step=step, dtype=dtype)
  store = open_store(data)
  source = store.source(split)
  run = embedder.run
  if modality not in embedder.task.modalities:
    raise UserError(
      f"modality={modality!r}: {workdir} holds a model.name="
      f"{run.config.model.name!r}, which sees one side alone and gives only"
      f" {', '.join(embedder.task.modalities)}"
    )
  check_data(run, store, workdir)
  plan = export_shards.Plan(
    format=EXPORT_FORMAT,
    step=embedder.step,
    checkpoint=_checkpoint_id(Path(workdir), embedder.step),
    tokenizer=run.tokenizer.fingerprint,
    preprocessing=run.preprocessing,
    data=store.fingerprints[split],
    split=split,
    modality=modality,
    dtype=dtype,
    rows=len(source),
    dims=embedder.task.dims,
    shard_rows=SHARD_ROWS,
  )
  return embedder, store, plan


def check_data(run: RunRecord, store: Store, workdir) -> None:
  """Raises UserError where data were not prepared as the run's were."""
  for name, ours, theirs in (
    ("tokenizer", run.tokenizer.fingerprint, store.catalogue["tokenizer"]),
    ("preprocessing", run.preprocessing, store.catalogue["preprocessing"]),
  ):
    if ours != theirs:
      raise UserError(
        f"{store.path} was prepared with {name} {theirs!r}, {workdir} was"
        f" trained with {ours!r}: prepare the catalogue with --tokenizer"
        f" {Path(workdir) / 'tokenizer.json'}"
      )


def _finish(out: Path, plan: export_shards.Plan, workdir, at) -> None:
  """Joins the shards, and writes, last, the meta data."""
  lacking, unreadable = 0, []
  for row, item in enumerate(export_shards.join(out, plan, at)):
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
    print(
      f"{lacking} of {plan.rows} rows have no {plan.modality}: all of them got"
      " the embedding of nothing"
    )
  if unreadable:
    named = [f"row {bad['row']} ({bad['id']})" for bad in unreadable]
    print(
      f"{len(unreadable)} of {plan.rows} rows could not be read and got the"
      f" embedding of nothing: {listed(named)}"
    )
  print(
    f"{out}: {plan.rows} rows of {plan.dims}, {plan.modality}, step {plan.step}"
  )


def _checkpoint_id(workdir: Path, step: int) -> str:
  """A fingerprint of the weights: of the manifest, of run.json for step 0."""
  manifest = workdir / "checkpoints" / str(step) / "manifest.json"
  path = manifest if manifest.is_file() else workdir / "run.json"
  return sha256(path)
