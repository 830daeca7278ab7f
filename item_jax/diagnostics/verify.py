"""A folder that some command wrote in; what of it is whole and what is not
out, every byte read."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from item_jax.comparison.files import DROPPED, RESULT_FILE
from item_jax.data.records import (
  CATALOGUE,
  BadRecord,
  Fingerprint,
  Store,
  in_order,
)
from item_jax.errors import UserError
from item_jax.evaluation.items import EXPORTED, find_export_damage
from item_jax.files import MANIFEST, CorruptError, find_damage, read_json
from item_jax.training.run import RUN_FILE, read_run

WHOLE = "whole"
DAMAGED = "damaged"  # written to the end, and not that any more
UNFINISHED = "unfinished"  # never written to the end, or it lost what says so
NOT_WHOLE = 1  # exit code

_CHECKPOINTS = "checkpoints"
_META = "meta.json"


class Finding(NamedTuple):
  """What is known of one thing; of one damaged there may be several."""

  state: str  # WHOLE, DAMAGED or UNFINISHED
  text: str  # begins with the path


def kind_of(path: Path) -> str:
  """ "data set", "run", "export", "checkpoint" or "comparison".

  Whatever single file of it is missing, it is still told.

  Raises:
    FileNotFoundError: there is no such folder.
    UserError: it is none of these.
  """
  if path.is_file():
    raise UserError(f"{path} is a file: expected the folder it lies in")
  if not path.is_dir():
    raise FileNotFoundError(f"{path}: no such folder")

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
  raise UserError(
    f"{path} is no data set, run, checkpoint, export or comparison: it has"
    f" none of {CATALOGUE}, {RUN_FILE}, {_META}"
  )


def verify(path: Path, *, records: bool = False) -> Iterator[Finding]:
  """Compares a folder with what was written; goes on after what is damaged.

  Args:
    records: whether each record of a data set is read too, which says which
      of them are lost with a damaged shard.

  Raises:
    FileNotFoundError, UserError: as `kind_of`, before anything is yielded.
  """
  path = Path(path)
  kind = kind_of(path)
  if kind == "data set":
    yield from _verify_data(path, records)
    return
  if records:
    raise UserError(f"{path} is a {kind}: only a data set has records to read")
  checks = {
    "run": _verify_run,
    "export": _verify_export,
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
  yield from _of(path, find_damage(path))
  if records:
    yield from _verify_records(path)


def _verify_records(path: Path) -> Iterator[Finding]:
  try:
    store = Store(path, read_json(path / CATALOGUE))
  except (UserError, OSError) as error:
    yield Finding(DAMAGED, f"{path}: its records cannot be found: {error}")
    return
  for split in in_order(store.sizes):
    source, fingerprint = store.source(split), Fingerprint()
    bad = 0
    for number in range(len(source)):
      try:
        fingerprint.add(source[number])
      except BadRecord as error:
        bad += 1
        yield Finding(DAMAGED, str(error))
    said = f"{path}: {len(source)} records of {split}"
    if bad:
      yield Finding(DAMAGED, f"{said}, {bad} of them cannot be read")
    elif fingerprint.hexdigest() != store.fingerprints.get(split):
      yield Finding(DAMAGED, f"{said} are not those of {CATALOGUE}")
    else:
      yield Finding(WHOLE, said)


def _verify_run(path: Path) -> Iterator[Finding]:
  yield from _verify_head(path)
  folder = path / _CHECKPOINTS
  # Others are saves that were cut off; the next start removes them.
  steps = [p for p in folder.glob("*") if p.name.isdecimal() and p.is_dir()]
  for step in sorted(steps, key=lambda p: int(p.name)):
    yield from _verify_checkpoint(step)
  if not steps:
    yield Finding(UNFINISHED, f"{folder} has no checkpoint")


def _verify_head(path: Path) -> Iterator[Finding]:
  """A run's settings, without its checkpoints."""
  try:
    read_run(path)
  except (UserError, FileNotFoundError) as error:
    yield Finding(DAMAGED, str(error))
  else:
    yield Finding(WHOLE, f"{path / RUN_FILE} and its tokenizer")


def _verify_checkpoint(path: Path) -> Iterator[Finding]:
  if (path / MANIFEST).exists():
    yield from _of(path, find_damage(path))
  else:
    yield Finding(
      UNFINISHED,
      f"{path / MANIFEST} is missing: the save was cut off, or it was deleted",
    )


def _verify_export(path: Path) -> Iterator[Finding]:
  if (path / _META).exists():
    yield from _of(path, find_export_damage(path))
  else:
    yield Finding(
      UNFINISHED,
      f"{path / _META} is missing: the same export again goes on where this"
      " one stopped, or it was deleted",
    )


def _verify_comparison(path: Path) -> Iterator[Finding]:
  """Its runs and exports; its tables are made of them and can be made again."""
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
  try:
    said = read_json(run / RESULT_FILE)
  except (FileNotFoundError, CorruptError):
    return False
  # Of a tuning run that does not say it is not known; earlier ones did not.
  tuned = run.name.startswith("tune-")
  return isinstance(said, dict) and bool(said.get(DROPPED, tuned))


def _of(path: Path, damage: Iterator[str]) -> Iterator[Finding]:
  found = [Finding(DAMAGED, text) for text in damage]
  yield from found or [Finding(WHOLE, str(path))]
