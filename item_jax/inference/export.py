"""Writes the embeddings of splits, in shards that survive a kill."""

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack, overload

import jax

from item_jax.data.records import Dataset, open_dataset
from item_jax.distributed.barrier import Barrier
from item_jax.distributed.progress import NullListener, ProgressListener
from item_jax.errors import UserError, check_path, check_whole
from item_jax.evaluation.items import Export
from item_jax.inference import export_shards, export_work
from item_jax.inference import space as space_lib
from item_jax.inference.embed_parts import Work
from item_jax.inference.embedder import MODALITIES, load
from item_jax.inference.fit_space import Asked, settle
from item_jax.inference.space import Space, checkpoint_id, describe
from item_jax.listing import as_list
from item_jax.training.fetched import copied_run
from item_jax.training.run import check_data

logger = logging.getLogger(__name__)

EXPORT_FORMAT = 3
SHARD_ROWS = 2_048  # of which a kill loses one at most


class _Options(TypedDict, total=False):
  step: int | None
  batch_size: int
  dtype: str
  workers: int
  overwrite: bool
  pool: str | None
  whiten: str
  like: str | os.PathLike | None
  drop_rate: float
  seed: int
  progress: ProgressListener | None


@overload
def export(  # pyright: ignore[reportOverlappingOverload] a str is a Sequence
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset,
  split: str,
  out: str | os.PathLike,
  modality: str = "both",
  **options: Unpack[_Options],
) -> Export: ...


@overload
def export(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset,
  split: str | Sequence[str],
  out: str | os.PathLike,
  modality: str | Sequence[str] = "both",
  **options: Unpack[_Options],
) -> dict[tuple[str, str], Export]: ...


def export(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset,
  split: str | Sequence[str],
  out: str | os.PathLike,
  modality: str | Sequence[str] = "both",
  step: int | None = None,
  batch_size: int = 256,
  dtype: str = "float32",
  workers: int = 0,
  overwrite: bool = False,
  pool: str | None = None,
  whiten: str = "none",
  like: str | os.PathLike | None = None,
  drop_rate: float = 0.0,
  seed: int = 0,
  progress: ProgressListener | None = None,
):
  """Writes the embeddings of a split: embeddings.npy, items.csv, meta.json.

  The rows are written in shards; a call that is killed is continued by the same
  call. meta.json comes last: a folder without it is not finished.

  Many processes divide the shards; each reads, decodes and embeds its own rows
  on its own devices. What is written is the same, to the bit, for any number
  of processes and of devices of one kind, also where others began it.

  With a list of splits or of modalities the model is opened once, and each
  split and modality has an export of its own in OUT/SPLIT-MODALITY, the same,
  to the bit, as a call for it alone writes.

  A row that cannot be read stays, with the null embedding; meta.json names it.

  Args:
    workdir, step, dtype: of the model; as of `embedder.load`.
    data: a prepared catalogue: a `Dataset` or its folder.
    split: of the data; or a list, such as `list(dataset.sizes)` for all.
    out: the folder to write.
    modality: what the model is shown: "both", "image" or "title"; or a list.
    batch_size: rows that a device embeds at a time.
    workers: processes that decode; each runs the calling script once more.
    overwrite: whether another export in `out` is replaced.
    pool: of the network's states; None as trained; `fit_space.Asked` says more.
    whiten: "none", "centre", "whiten" or "auto"; likewise. What is learnt or
      chosen is so for each modality by itself, once for all splits.
    like: another export of the run, whose pool and transform are taken.
    drop_rate: of complete listings, that lose a side, drawn by `seed`, as in
      the mixed index of `robustness`; of the modality "both".
    progress: is informed of what is next; a step is a row.

  Returns:
    The export; where `split` or `modality` is a list {(split, modality):
    export}, in the order of splits, then modalities.

  Raises:
    UserError: data of another tokenizer or preprocessing than the run's; a
      folder that holds another export, or in which another is at work, or
      that not all processes see; a list with a name twice, or none.
    OSError: it could not be written; the same call goes on later.
    item_jax.distributed.barrier.OtherProcessError: another process failed.
  """
  check_path(out, "out")
  out, one = Path(out), isinstance(split, str) and isinstance(modality, str)
  splits, modalities = _listed("split", split), _listed("modality", modality)
  notify = (progress or NullListener()).update
  with Barrier():
    asked = Asked(pool, whiten, like)
    how = step, dtype, batch_size, workers, notify, drop_rate, seed
    run = _open(workdir, data, modalities, asked, *how)
    plans = {(s, m): _plan(run, s, m) for s in splits for m in modalities}
    checked = jax.process_index() == 0 and run.is_plain and not overwrite
    folders = export_work.find_folders(out, plans, one=one, checked=checked)
  found = {
    key: _export(
      run, plan, folders[key], [folders[s, key[1]] for s in splits], overwrite
    )
    for key, plan in plans.items()
  }
  return next(iter(found.values())) if one else found


class _Run(NamedTuple):
  """What exports of one run have in common; fields as of `export`."""

  workdir: Path
  checkpoint: str  # its fingerprint
  work: Work
  space: Space | None  # the embedder's, before one is made for an export
  asked: Asked
  drop: dict[str, Any] | None = None  # as of `export_shards.Plan`

  @property
  def is_plain(self) -> bool:
    """Whether the vectors are wanted as they were trained."""
    return self.space is None and self.asked[:2] == Asked()[:2]


def _open(workdir, data, modalities, asked: Asked, *how) -> _Run:
  """Opens the run and its data, and refuses what it cannot be asked for."""
  step, dtype, batch_size, workers, notify, rate, seed = how
  check_whole("batch_size", batch_size, at_least=1)
  check_whole("workers", workers, at_least=0)
  for modality in modalities:
    if modality not in MODALITIES:
      raise UserError(
        f"modality={modality!r}: known are {', '.join(MODALITIES)}"
      )
  embedder = load(workdir, step=step, dtype=dtype, like=asked.like)
  asked.check(embedder)
  drop = export_work.check_drop(embedder, modalities, rate, seed)
  dataset = open_dataset(data)
  check_data(embedder.run, dataset, workdir)
  with copied_run(workdir, step=embedder.step) as copy:
    checkpoint = checkpoint_id(copy, embedder.step)
  work = Work(embedder, dataset, batch_size, workers, notify)
  return _Run(Path(workdir), checkpoint, work, embedder.space, asked, drop)


def _listed(what: str, names: str | Sequence[str]) -> list[str]:
  listed = as_list(names, what)
  if not listed or len(set(listed)) < len(listed):
    raise UserError(f"{what}={listed}: expected one name or more, each once")
  return listed


def _plan(run: _Run, split: str, modality: str) -> export_shards.Plan:
  embedder, dataset = run.work.embedder, run.work.dataset
  rows = len(dataset.source(split))
  embedder.check_modality(modality)
  return export_shards.Plan(
    format=EXPORT_FORMAT,
    step=embedder.step,
    checkpoint=run.checkpoint,
    tokenizer=embedder.run.tokenizer.fingerprint,
    preprocessing=embedder.run.preprocessing,
    data=dataset.fingerprints[split],
    split=split,
    modality=modality,
    dtype=embedder.dtype,
    rows=rows,
    dims=embedder.task.dims,
    shard_rows=SHARD_ROWS,
    drop=run.drop,
  )


def _export(
  run: _Run,
  plan: export_shards.Plan,
  out: Path,
  beside: list[Path],
  overwrite: bool,
) -> Export:
  """Writes one export; in the folders `beside` its space may be known."""
  work, embedder = run.work, run.work.embedder
  first = jax.process_index() == 0
  with Barrier() as barrier, contextlib.ExitStack() as stack:
    embedder.enter(run.space)
    barrier.wait()
    missing = made = None
    if first:
      stack.enter_context(export_shards.exclusive_folder(out))
      made = settle(
        out, plan, run.asked, work, overwrite=overwrite, beside=beside
      )
      missing = export_shards.acquire(
        out,
        _in_space(plan, made),
        overwrite=overwrite,
        notify=functools.partial(work.notify, "set up"),
      )
    missing, made = barrier.broadcast([missing, made])
    if missing is None:
      if first:
        logger.info(
          f"{out} is finished already: {plan.rows} rows, nothing to do"
        )
      return _opened(out)
    # All of them take the space that process 0 has found.
    plan = _in_space(plan, made)
    export_shards.check_seen(out, plan)
    embedder.enter(made and space_lib.read(out, made))
    barrier.wait()
    export_work.write_shards(out, plan, missing, work)
    work.notify("join", plan.rows)
    barrier.wait()
    if first:
      export_work.finish(out, plan, run.workdir, work)
    barrier.wait()
  return _opened(out)


def _opened(out: Path) -> Export:
  """An export whose meta is read, before another may take its place."""
  made = Export(out)
  len(made.meta)
  return made


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
