"""Writes the embeddings of a split: a workdir and a store in; embeddings.npy,
items.csv and meta.json out, in shards that survive a kill."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from item_jax.data import pipeline
from item_jax.data.records import Record, Source, Store, open_store
from item_jax.errors import UserError
from item_jax.evaluation import hosts, shards
from item_jax.evaluation.embed import MODALITIES, Embedder, load
from item_jax.evaluation.items import EXPORTED
from item_jax.files import sha256, write_sealed
from item_jax.training.workdir import Run

EXPORT_FORMAT = 2
SHARD_ROWS = 8_192
_NAMED = 10  # unreadable rows that are printed; meta.json names all


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
  of processes and of devices of one kind.

  A row that cannot be read keeps its place with the embedding of nothing; it
  is named, in meta.json ("unreadable") too.

  Args:
    batch_size: rows that a device embeds at a time.
    progress: told by `at(stage, step)` where the export is; a step is a row.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export, or in which another is at work.
    OSError: it could not be written; the same call goes on later.
    item_jax.evaluation.hosts.ElsewhereError: another process failed.
  """
  out = Path(out)
  embedder, store, plan = hosts.together(
    lambda: _open(workdir, data, split, modality, step, dtype)
  )
  with contextlib.ExitStack() as held:

    def claim():
      held.enter_context(shards.alone(out))
      return shards.claim(out, plan, overwrite=overwrite)

    missing = hosts.together(claim, first=True)
    if missing is None:
      if jax.process_index() == 0:
        print(f"{out} is finished already: {plan.rows} rows, nothing to do")
      return
    mine = missing[jax.process_index() :: jax.process_count()]
    device_rows = min(batch_size, plan.rows)

    def write():
      for row in _write_shards(
        embedder, store, plan, out, mine, device_rows, workers
      ):
        if progress:
          progress.at("step", row)
      if progress:
        progress.at("join", plan.rows)

    hosts.together(write)
    hosts.together(lambda: _finish(out, plan, workdir), first=True)


def _open(
  workdir, data, split, modality, step, dtype
) -> tuple[Embedder, Store, shards.Plan]:
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
  return embedder, store, plan


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


def _write_shards(
  embedder, store, plan, out, numbers, device_rows, workers
) -> Iterator[int]:
  """Embeds the rows of these shards and writes them; yields where it is.

  A batch never spans shards, and each device takes `device_rows` rows of it:
  so a row has the same place in a product of the same shape whoever embeds
  it, and its last bits don't depend on that.
  """
  size = device_rows * jax.local_device_count()
  rows = []
  for number in numbers:
    rows += shards.rows_of(plan, number)
    rows += [_NO_ROW] * (-len(rows) % size)
  source = store.source(plan.split)
  m = embedder.config.model
  batches = pipeline.ordered_batches(
    _Chosen(source, plan.split, rows),
    plan.split,
    embedder.words,
    image_size=m.image_size,
    title_places=m.title_places,
    batch_size=size,
    workers=workers,
  )
  total = sum(len(shards.rows_of(plan, number)) for number in numbers)
  with tqdm(total=total, unit="row", desc=plan.modality) as bar:
    for number in numbers:
      wanted = shards.rows_of(plan, number)
      held, bad = [], []
      for first in range(0, len(wanted), size):
        yield wanted.start + first
        batch = next(batches)
        held.append(embedder.embed_batch(batch, modality=plan.modality))
        bad.extend(np.asarray(batch.bad_B).tolist())
        bar.update(min(size, len(wanted) - first))
      items = [
        _item(source, plan.split, row, unreadable)
        for row, unreadable in zip(wanted, bad, strict=False)
      ]
      shards.save(out, number, np.concatenate(held)[: len(wanted)], items)


def _item(source: Source, split: str, row: int, bad: bool) -> shards.Item:
  item = shards.read_item(source, split, row)
  if bad:  # its photo, as a rule: who it is may be known all the same
    item = item._replace(has_image=0, has_title=0, unreadable=1)
  return item


_NO_ROW = -1  # fills a shard's last batch; nothing is read or decoded for it


class _Chosen:
  """Rows of a split, in an order of one's own, as a `Store` of one split."""

  def __init__(self, source: Source, split: str, rows: list[int]):
    self._source, self._rows = source, rows
    self.sizes = {split: len(rows)}

  def source(self, split: str) -> "_Chosen":
    del split
    return self

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, number: int) -> Record:
    row = self._rows[number]
    return Record("", "", "", "", b"") if row == _NO_ROW else self._source[row]


def _finish(out: Path, plan: shards.Plan, workdir) -> None:
  """Joins the shards, and writes, last, the meta data."""
  lacking, unreadable = 0, []
  for row, item in enumerate(shards.join(out, plan)):
    if item.unreadable:
      unreadable.append({"row": row, "id": item.id})
      continue
    lacking += {
      "both": not (item.has_image or item.has_title),
      "image": not item.has_image,
      "title": not item.has_title,
    }[plan.modality]
  write_sealed(
    out / "meta.json",
    {
      **plan._asdict(),
      "files": {name: sha256(out / name) for name in EXPORTED},
      "rows_without_this_side": lacking,
      "unreadable": unreadable,
      "workdir": Path(workdir).name,
    },
  )
  shards.tidy(out)
  if lacking:
    print(
      f"{lacking} of {plan.rows} rows have no {plan.modality}: all of them got"
      " the embedding of nothing"
    )
  if unreadable:
    named = [f"row {bad['row']} ({bad['id']})" for bad in unreadable[:_NAMED]]
    named += ["..."] * (len(unreadable) > _NAMED)
    print(
      f"{len(unreadable)} of {plan.rows} rows could not be read and got the"
      f" embedding of nothing: {', '.join(named)}"
    )
  print(
    f"{out}: {plan.rows} rows of {plan.dims}, {plan.modality}, step {plan.step}"
  )


def _checkpoint_id(workdir: Path, step: int) -> str:
  """A fingerprint of the weights: of the manifest, of run.json for step 0."""
  manifest = workdir / "checkpoints" / str(step) / "manifest.json"
  path = manifest if manifest.is_file() else workdir / "run.json"
  return sha256(path)
