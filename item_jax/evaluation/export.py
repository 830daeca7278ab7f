"""Writes the embeddings of a split: a workdir and a store in; embeddings.npy,
items.csv and meta.json out, in shards that survive a kill."""

import csv
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from item_jax.data import pipeline
from item_jax.data.records import Store, open_store
from item_jax.errors import UserError
from item_jax.evaluation import shards
from item_jax.evaluation.embed import MODALITIES, load
from item_jax.files import sha256, write_sealed
from item_jax.training.workdir import Run

EXPORT_FORMAT = 2
FILES = ("embeddings.npy", "items.csv")  # what meta.json answers for
SHARD_ROWS = 8_192
ITEM_COLUMNS = (
  "id",
  "product",
  "category",
  "title",
  "has_image",  # 1 or 0; the embedding of nothing does not look like nothing
  "has_title",
)


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
  if modality not in embedder.task.modalities:
    raise UserError(
      f"modality={modality!r}: {workdir} holds a model.name="
      f"{run.config.model.name!r}, which sees one side alone and gives only"
      f" {', '.join(embedder.task.modalities)}"
    )
  check_data(run, store, workdir)
  plan = shards.Plan(
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
    dims=embedder.task.dims,
    shard_rows=SHARD_ROWS,
  )
  if not shards.claim(out, plan, overwrite=overwrite):
    print(f"{out} is finished already: {plan.rows} rows, nothing to do")
    return
  _write_shards(embedder, store, plan, out, batch_size, workers)
  _finish(out, plan, source, workdir)


def check_data(run: Run, store: Store, workdir) -> None:
  """Raises UserError where data were not prepared as the run's were."""
  for name, ours, theirs in (
    ("tokenizer", run.tokenizer, store.catalogue["tokenizer"]),
    ("preprocessing", run.preprocessing, store.catalogue["preprocessing"]),
  ):
    if ours != theirs:
      raise UserError(
        f"{store.path} was prepared with {name} {theirs!r}, {workdir} was"
        f" trained with {ours!r}: prepare the catalogue with --tokenizer"
        f" {Path(workdir) / 'tokenizer.json'}"
      )


def _write_shards(embedder, store, plan, out, batch_size, workers) -> None:
  """Embeds the rows of the shards that are not there yet."""
  (out / "parts").mkdir(exist_ok=True)
  devices = jax.device_count()
  batch_size = -(-batch_size // devices) * devices
  total = shards.count(plan)
  done = 0
  while done < total and shards.shard_path(out, done).exists():
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
      while done < total and row >= min(
        (done + 1) * plan.shard_rows, plan.rows
      ):
        rows_ND = np.concatenate(held)
        size = min(plan.shard_rows, plan.rows - done * plan.shard_rows)
        shards.save(shards.shard_path(out, done), rows_ND[:size])
        held, done = [rows_ND[size:]], done + 1


def _finish(out: Path, plan: shards.Plan, source, workdir) -> None:
  """Joins the shards, writes the items and, last, the meta data."""
  part = out / "embeddings.npy.part"
  joined = np.lib.format.open_memmap(
    part, mode="w+", dtype=np.float32, shape=(plan.rows, plan.dims)
  )
  for number in range(shards.count(plan)):
    rows_ND = np.load(shards.shard_path(out, number), allow_pickle=False)
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
      *named, title, category, image = record
      has = (int(bool(image)), int(bool(title)))
      writer.writerow([*named, category, title, *has])
  part.replace(out / "items.csv")
  write_sealed(
    out / "meta.json",
    {
      **plan._asdict(),
      "files": {name: sha256(out / name) for name in FILES},
      "rows_without_this_side": lacking,
      "workdir": Path(workdir).name,
    },
  )
  shards.tidy(out)
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
  path = manifest if manifest.is_file() else workdir / "run.json"
  return sha256(path)
