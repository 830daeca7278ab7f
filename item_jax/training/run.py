"""Records what a run is in its workdir, and describes a finished run.

The record is written at the first start, compared at every later one, and read
by all that uses the parameters.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from item_jax import config as config_lib
from item_jax.config import Config
from item_jax.data import images
from item_jax.data.records import Dataset
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.distributed.collectives import as_first
from item_jax.errors import NotFoundError, UserError, check_utf8
from item_jax.evaluation.results import Shown
from item_jax.files import (
  RUN_FILE,
  exclusive_lock,
  read_checksummed,
  write_checksummed,
)
from item_jax.remote import Address, locate

logger = logging.getLogger(__name__)

TOKENIZER_FILE = "tokenizer.json"


class RunRecord(NamedTuple):
  """What `run.json` and `tokenizer.json` of a workdir hold."""

  config: Config
  attention: str  # the kernel that was chosen
  device: str  # its kind, as jax calls it; "" in records of version 0.1
  preprocessing: str
  data: dict[str, str]  # split: fingerprint
  chance_levels: dict[str, float]  # of losses
  categories: tuple[str, ...]  # that the task predicts, in its order
  tokenizer: Tokenizer
  # Names of the parameters that `start_from` gave, as of `init_from.Start`.
  taken: tuple[str, ...] = ()
  # `stem_features.fingerprint` of a stem whose features are read from files.
  stem: str = ""


@dataclasses.dataclass(frozen=True)
class Run(Shown):
  """A finished run."""

  workdir: Path | Address
  config: Config
  step: int  # the last one
  metrics: dict[str, float]  # of the last evaluation; {} where none was made
  best_step: int | None  # the checkpoint that is best by `checkpoint.best`
  device: str  # the kind of device that it was trained on

  def to_dict(self) -> dict[str, Any]:
    """All of it as values of JSON."""
    return {
      "workdir": str(self.workdir),
      "config": config_lib.flatten(self.config),
      "step": self.step,
      "metrics": dict(self.metrics),
      "best_step": self.best_step,
      "device": self.device,
    }

  def __str__(self) -> str:
    lines = [f"run {self.workdir}: {self.step:,} steps on {self.device}"]
    if self.best_step is not None:
      best = self.config.checkpoint.best
      lines.append(f"best checkpoint by {best}: step {self.best_step:,}")
    width = max(map(len, self.metrics), default=0)
    lines += [f"  {k:{width}}  {v:.4f}" for k, v in self.metrics.items()]
    return "\n".join(lines)


@contextlib.contextmanager
def exclusive_run(workdir: Path) -> Iterator[None]:
  """Allows one run at a time in a workdir; a refused one leaves no folder.

  Raises:
    UserError: another run is at work there; in every process of this one.
  """
  workdir = Path(workdir)
  refused = None
  with contextlib.ExitStack() as held:
    if jax.process_index() == 0:
      try:
        check_utf8(workdir)
        _check_workdir(workdir)
        held.enter_context(exclusive_lock(workdir, what="run"))
      except UserError as error:
        refused = error
    if as_first(refused is not None):
      raise refused or UserError(f"another run is at work in {workdir}")
    try:
      yield
    finally:
      if jax.process_index() == 0:
        _remove_if_empty(workdir)


def _check_workdir(workdir: Path) -> None:
  """Refuses another command's folder, which a run's files would corrupt."""
  for name, what in (("catalogue.json", "data set"), ("meta.json", "export")):
    if (workdir / name).exists() and not (workdir / RUN_FILE).exists():
      raise UserError(f"{workdir} holds a {what}, no run: name another workdir")


def _remove_if_empty(workdir: Path) -> None:
  if [path.name for path in workdir.glob("*")] == ["lock"]:
    (workdir / "lock").unlink()
    workdir.rmdir()


def find_run(workdir: Path) -> RunRecord | None:
  """Reads the record of the run that a workdir holds, if there is one.

  Raises:
    UserError: there are checkpoints, but no record of their run.
  """
  if (workdir / RUN_FILE).exists():
    return read_run(workdir)
  if any((workdir / "checkpoints").glob("[0-9]*")):
    raise UserError(
      f"{workdir} holds checkpoints, but {RUN_FILE}, which says of what run, is"
      " missing: put it back, or give another --workdir"
    )
  return None


def read_run(workdir: Path) -> RunRecord:
  """Reads the record of a run.

  Raises:
    NotFoundError: there is none.
    UserError: its files don't fit together.
  """
  path = Path(workdir) / RUN_FILE
  if not path.is_file():
    raise NotFoundError(f"{workdir} holds no run: {path} is missing")
  saved = read_checksummed(path)
  tokenizer = load_tokenizer(Path(workdir) / TOKENIZER_FILE)
  if tokenizer.fingerprint != saved["tokenizer"]:
    raise UserError(
      f"{Path(workdir) / TOKENIZER_FILE} has fingerprint"
      f" {tokenizer.fingerprint[:12]}, the run was trained with"
      f" {saved['tokenizer'][:12]}"
    )
  return RunRecord(
    config=config_lib.from_flat(saved["config"]),
    attention=saved["attention"],
    device=saved.get("device", ""),
    preprocessing=saved["preprocessing"],
    data=saved["data"],
    chance_levels=saved["floors"],
    categories=tuple(saved["categories"]),
    tokenizer=tokenizer,
    taken=tuple(saved.get("taken", ())),
    stem=saved.get("stem", ""),
  )


def write_run(
  workdir: Path,
  config: Config,
  store: Dataset,
  tokenizer: Tokenizer,
  *,
  attention: str,
  chance_levels: dict[str, float],
  categories: Sequence[str],
  taken: Sequence[str] = (),
  stem: str = "",
) -> None:
  """Writes the record of a run that begins."""
  tokenizer.save(Path(workdir) / TOKENIZER_FILE)
  write_checksummed(
    Path(workdir) / RUN_FILE,
    {
      "config": config_lib.flatten(config),
      "attention": attention,
      "device": jax.devices()[0].device_kind,
      "preprocessing": images.PREPROCESSING,
      "tokenizer": tokenizer.fingerprint,
      "data": store.fingerprints,
      "floors": chance_levels,
      "categories": list(categories),
      "versions": {"jax": jax.__version__},
    }
    # A resumed run must know them where it can't open the weights any more.
    | ({"taken": list(taken)} if taken else {})
    | ({"stem": stem} if stem else {}),
  )


def check_same(
  run: RunRecord, config: Config, store: Dataset, tokenizer: Tokenizer
) -> None:
  """Raises UserError, naming every field, where a resumed run would differ."""
  before = config_lib.flatten(run.config)
  now = config_lib.flatten(config)
  free = config_lib.FREE_ON_RESUME
  if not run.config.model.dropout:  # it draws none
    free |= {"model.dropout_bits"}
  differing = [
    f"{name}: was {before[name]!r}, is {now[name]!r}"
    for name in sorted(before)
    if before[name] != now[name] and name not in free
  ]
  for name, was, is_ in (
    ("data (fingerprints of the splits)", run.data, store.fingerprints),
    ("tokenizer", run.tokenizer.fingerprint, tokenizer.fingerprint),
    ("preprocessing", run.preprocessing, images.PREPROCESSING),
  ):
    if was != is_:
      differing.append(f"{name}: was {was!r}, is {is_!r}")
  if differing:
    raise UserError(
      "the workdir holds another run; give another --workdir, or undo\n  "
      + "\n  ".join(differing)
    )


def check_data(
  run: RunRecord,
  dataset: Dataset,
  workdir: str | os.PathLike,
  *,
  tokenizer: bool = True,
) -> None:
  """Raises UserError where data were not prepared as the run's were.

  A run with a tokenizer of its own has cut the titles of its data by that.

  Args:
    tokenizer: whether that of the data is to be the run's. A run embeds titles
      by its own, of whatever data: they are stored as they were written.
  """
  if dataset.fingerprints != run.data:
    own = locate(run.config.data.path)
    moved = not isinstance(own, Address) and not own.exists()
    place = "DATA_OF_THE_RUN" if moved else f"run={workdir}"
    logger.info(
      f"not the run's own data; what both have is listed by item-jax verify"
      f" {dataset.path} --unseen_by={place}"
      + f" ({own}, which it was trained on, is not here)"
      * moved
    )
  theirs = dataset.catalogue["tokenizer"]
  own = tokenizer and not run.config.data.tokenizer
  ours = run.tokenizer.fingerprint if own else theirs
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
