"""Checks every byte of what a command wrote against its manifests."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from item_jax.comparison.files import DROPPED, RESULT_FILE
from item_jax.data.records import (
  CATALOGUE,
  BadRecord,
  Dataset,
  Fingerprint,
  in_order,
  open_dataset,
)
from item_jax.diagnostics.leaks import Training
from item_jax.errors import NotFoundError, UserError
from item_jax.evaluation.engines import DTYPES
from item_jax.evaluation.index import IDS as INDEX_IDS
from item_jax.evaluation.index import RECORD as INDEX_RECORD
from item_jax.evaluation.index import made_anew
from item_jax.evaluation.items import (
  EXPORTED,
  find_export_damage,
  find_listed_damage,
)
from item_jax.files import MANIFEST, CorruptError, find_damage, read_json
from item_jax.training.run import RUN_FILE, read_run
from item_jax.training.trained_on import open_training

# The states of what is found, as the command prints them.
WHOLE = "whole"
CORRUPT = "damaged"  # it was complete, and has changed since
UNFINISHED = "unfinished"  # never complete, or what says so was deleted
OUTDATED = "outdated"  # an index whose export was made anew since
SEEN = "seen"  # a listing that a run was trained on

_CHECKPOINTS = "checkpoints"
_META = "meta.json"


class Finding(NamedTuple):
  """What was found of one thing; there may be several of a corrupt one."""

  state: str  # WHOLE, CORRUPT, UNFINISHED, OUTDATED or SEEN
  text: str  # begins with the path


def kind_of(path: Path) -> str:
  """Returns what a folder is.

  "data set", "run", "export", "exports" (a folder of them), "checkpoint",
  "index" or "comparison".

  A folder is recognised even if any single file of it is missing.

  Raises:
    NotFoundError: there is no such folder.
    UserError: it is none of these.
  """
  if path.is_file():
    raise UserError(f"{path} is a file: expected the folder it lies in")
  if not path.is_dir():
    raise NotFoundError(f"{path}: no such folder")

  def has(*names: str) -> bool:
    return any((path / name).exists() for name in names)

  if has(RUN_FILE, _CHECKPOINTS):
    return "run"
  if has(CATALOGUE, "dataset_info.json") or any(path.glob("*.array_record-*")):
    return "data set"
  if has("runs"):
    return "comparison"
  if has(_META, *EXPORTED, "plan.json"):
    return "export"
  if path.resolve().name.isdecimal() and has(MANIFEST, "default"):
    return "checkpoint"
  if has(INDEX_RECORD) or (has(INDEX_IDS) and _index_files(path)):
    return "index"
  if _exports_in(path):
    return "exports"
  raise UserError(
    f"{path} is no data set, run, checkpoint, export, folder of exports, index"
    f" or comparison: it has none of {CATALOGUE}, {RUN_FILE}, {_META},"
    f" {INDEX_RECORD}"
  )


def _exports_in(path: Path) -> list[Path]:
  """The exports that `export --split=all` has made, or begun, in a folder.

  Each has two files of an export or more: one alone may be anybody's.
  """
  names = (_META, *EXPORTED, "plan.json", "parts")
  return [
    folder
    for folder in _folders_in(path)
    if sum((folder / name).exists() for name in names) > 1
  ]


def _folders_in(path: Path) -> list[Path]:
  found = (p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
  return sorted(found)


def _index_files(path: Path) -> list[Path]:
  return [file for dtype in DTYPES for file in path.glob(f"{dtype}.*")]


def verify(
  path: Path, *, records: bool = False, unseen_by: str | None = None
) -> Iterator[Finding]:
  """Yields what is whole in a folder and what is not.

  Args:
    records: whether to read each record of a data set too, and name those that
      are lost with a corrupt shard.
    unseen_by: as `open_training` takes it; the listings of a data set
      that were seen there in training are named.

  Raises:
    NotFoundError, UserError: as `kind_of`, before anything is yielded; as
      `leaks`.
  """
  path = Path(path)
  kind = kind_of(path)
  if kind == "data set":
    yield from _verify_data(path, records)
    if unseen_by is not None:
      yield from _verify_unseen(path, unseen_by)
    return
  if records or unseen_by is not None:
    raise UserError(
      f"{path}: {kind}; expected a data set: only a data set has records to"
      " read"
    )
  checks = {
    "run": _verify_run,
    "export": _verify_export,
    "exports": _verify_exports,
    "index": _verify_index,
    "checkpoint": _verify_checkpoint,
    "comparison": _verify_comparison,
  }
  yield from checks[kind](path)


def _verify_data(path: Path, records: bool) -> Iterator[Finding]:
  if not (path / MANIFEST).is_file() and not (path / CATALOGUE).is_file():
    yield Finding(
      UNFINISHED,
      f"{path} has neither {MANIFEST} nor {CATALOGUE}: a prepare that was cut"
      " off; the same command begins anew",
    )
    return
  yield from _state_of(path, find_damage(path))
  if records:
    yield from _verify_records(path)


def _verify_records(path: Path) -> Iterator[Finding]:
  try:
    store = Dataset(path, read_json(path / CATALOGUE))
  except (UserError, OSError) as error:
    yield Finding(CORRUPT, f"{path}: its records cannot be found: {error}")
    return
  for split in in_order(store.sizes):
    source, fingerprint = store.source(split), Fingerprint()
    bad = 0
    for number in range(len(source)):
      try:
        fingerprint.add(source[number])
      except BadRecord as error:
        bad += 1
        yield Finding(CORRUPT, str(error))
    text = f"{path}: {len(source)} records of {split}"
    if bad:
      yield Finding(CORRUPT, f"{text}, {bad} of them cannot be read")
    elif fingerprint.hexdigest() != store.fingerprints.get(split):
      yield Finding(CORRUPT, f"{text} are not those of {CATALOGUE}")
    else:
      yield Finding(WHOLE, text)


def _verify_unseen(path: Path, unseen_by: str) -> Iterator[Finding]:
  """Names the listings of all splits but the training's own that it has."""
  dataset, (trained, train_split) = open_dataset(path), open_training(unseen_by)
  splits = [s for s in in_order(dataset.sizes) if s != train_split]
  if not splits:
    raise UserError(f"{path} has no split but {train_split}")
  training = Training(trained, train_split)
  for split in splits:
    found = training.find(dataset, split)
    for seen in found:
      how = [f"its product {seen.product_id}, as {seen.as_product}"]
      how = how if seen.as_product else []
      how += [f"its image, as {seen.as_image}"] if seen.as_image else []
      yield Finding(
        SEEN, f"{path}: {split} listing {seen.listing_id}: {'; '.join(how)}"
      )
    rows = dataset.sizes[split]
    yield Finding(
      WHOLE, f"{path}: {rows - len(found)} of {rows} {split} listings are new"
    )


def _verify_run(path: Path) -> Iterator[Finding]:
  yield from _verify_head(path)
  folder = path / _CHECKPOINTS
  # Others are saves that were cut off; the next start deletes them.
  steps = [p for p in folder.glob("*") if p.name.isdecimal() and p.is_dir()]
  for step in sorted(steps, key=lambda p: int(p.name)):
    yield from _verify_checkpoint(step)
  if not steps:
    yield Finding(UNFINISHED, f"{folder} has no checkpoint")


def _verify_head(path: Path) -> Iterator[Finding]:
  """Checks a run's record, without its checkpoints."""
  try:
    read_run(path)
  except (UserError, FileNotFoundError) as error:
    yield Finding(CORRUPT, str(error))
  else:
    yield Finding(WHOLE, f"{path / RUN_FILE} and its tokenizer")


def _verify_checkpoint(path: Path) -> Iterator[Finding]:
  if (path / MANIFEST).exists():
    yield from _state_of(path, find_damage(path))
  else:
    yield Finding(
      UNFINISHED,
      f"{path / MANIFEST} is missing: the save was cut off, or it was deleted",
    )


def _verify_export(path: Path) -> Iterator[Finding]:
  if (path / _META).exists():
    yield from _state_of(path, find_export_damage(path))
  else:
    yield Finding(
      UNFINISHED,
      f"{path / _META} is missing: the same export again goes on where this"
      " one stopped, or it was deleted",
    )


def _verify_exports(path: Path) -> Iterator[Finding]:
  """Checks them, and what else of ours lies beside them."""
  exports = _exports_in(path)
  for folder in _folders_in(path):
    try:
      kind = kind_of(folder)
    except UserError:
      continue
    if kind != "export" or folder in exports:
      yield from verify(folder)


def _verify_index(path: Path) -> Iterator[Finding]:
  record = path / INDEX_RECORD
  if not record.exists():
    yield Finding(CORRUPT, f"{record} is missing: index the export again")
    return
  found = find_listed_damage(record, needed=(INDEX_IDS,), writer="index")
  found = [*_state_of(path, found)]
  if found[0].state == WHOLE and (export := made_anew(path)):
    text = f"{path}: {export} was made anew since: index it again"
    found = [Finding(OUTDATED, text)]
  yield from found


def _verify_comparison(path: Path) -> Iterator[Finding]:
  """Checks its runs and exports, from which its tables can be made again."""
  folder = path / "runs"
  homes = {p.parent for p in folder.rglob(RUN_FILE)}
  homes |= {p.parent for p in folder.rglob(_CHECKPOINTS)}
  homes |= {p.parent for name in (_META, *EXPORTED) for p in folder.rglob(name)}
  for home in sorted(homes):
    if _dropped(home.parent) and not (home / _CHECKPOINTS).exists():
      yield from _verify_head(home)
    else:
      yield from verify(home)
  if not homes:
    yield Finding(UNFINISHED, f"{folder} has no run and no export")


def _dropped(run: Path) -> bool:
  """Whether the checkpoints of a run were deleted on purpose."""
  try:
    result = read_json(run / RESULT_FILE)
  except (FileNotFoundError, CorruptError):
    return False
  # Earlier versions did not record it of tuning runs.
  tuned = run.name.startswith("tune-")
  return isinstance(result, dict) and bool(result.get(DROPPED, tuned))


def _state_of(path: Path, damage: Iterator[str]) -> Iterator[Finding]:
  found = [Finding(CORRUPT, text) for text in damage]
  yield from found or [Finding(WHOLE, str(path))]
