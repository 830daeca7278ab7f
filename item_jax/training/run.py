"""What a workdir says about its run: written at the first start, compared at
every later one, read by whoever uses the result."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from item_jax import config as config_lib
from item_jax.config import Config
from item_jax.data import images
from item_jax.data.records import Store
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.distributed.collectives import as_first
from item_jax.errors import UserError
from item_jax.files import exclusive_lock, read_checksummed, write_checksummed

RUN_FILE = "run.json"
TOKENIZER_FILE = "tokenizer.json"


class Run(NamedTuple):
  """What `run.json` and `tokenizer.json` hold."""

  config: Config
  attention: str  # the implementation that was chosen
  preprocessing: str
  data: dict[str, str]  # split: fingerprint
  floors: dict[str, float]
  categories: tuple[str, ...]  # that the run tells apart, in its own order
  tokenizer: Tokenizer


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
  """One run at a time in a workdir; what was refused leaves no folder.

  Raises:
    UserError: another run is at work there; in every process of this one.
  """
  workdir = Path(workdir)
  refused = None
  with contextlib.ExitStack() as held:
    if jax.process_index() == 0:
      try:
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


def _remove_if_empty(workdir: Path) -> None:
  if [path.name for path in workdir.glob("*")] == ["lock"]:
    (workdir / "lock").unlink()
    workdir.rmdir()


def find_run(workdir: Path) -> Run | None:
  """The run that a workdir holds, if there is one.

  Raises:
    UserError: there are checkpoints, but nothing says of what.
  """
  if (workdir / RUN_FILE).exists():
    return read_run(workdir)
  if any((workdir / "checkpoints").glob("[0-9]*")):
    raise UserError(
      f"{workdir} holds checkpoints, but {RUN_FILE}, which says of what run, is"
      " missing: put it back, or give another --workdir"
    )
  return None


def read_run(workdir: Path) -> Run:
  """Raises UserError where there is no run, or its files don't fit."""
  path = Path(workdir) / RUN_FILE
  if not path.is_file():
    raise UserError(f"{workdir} holds no run: {path} is missing")
  saved = read_checksummed(path)
  tokenizer = load_tokenizer(Path(workdir) / TOKENIZER_FILE)
  if tokenizer.fingerprint != saved["tokenizer"]:
    raise UserError(
      f"{Path(workdir) / TOKENIZER_FILE} has fingerprint"
      f" {tokenizer.fingerprint[:12]}, the run was trained with"
      f" {saved['tokenizer'][:12]}"
    )
  return Run(
    config=config_lib.from_flat(saved["config"]),
    attention=saved["attention"],
    preprocessing=saved["preprocessing"],
    data=saved["data"],
    floors=saved["floors"],
    categories=tuple(saved["categories"]),
    tokenizer=tokenizer,
  )


def write_run(
  workdir: Path,
  config: Config,
  store: Store,
  tokenizer: Tokenizer,
  *,
  attention: str,
  floors: dict[str, float],
  categories: Sequence[str],
) -> None:
  tokenizer.save(Path(workdir) / TOKENIZER_FILE)
  write_checksummed(
    Path(workdir) / RUN_FILE,
    {
      "config": config_lib.flatten(config),
      "attention": attention,
      "preprocessing": images.PREPROCESSING,
      "tokenizer": tokenizer.fingerprint,
      "data": store.fingerprints,
      "floors": floors,
      "categories": list(categories),
      "versions": {"jax": jax.__version__},
    },
  )


def check_same(
  run: Run, config: Config, store: Store, tokenizer: Tokenizer
) -> None:
  """Raises UserError naming every field in which a resume would differ."""
  before = config_lib.flatten(run.config)
  now = config_lib.flatten(config)
  differing = [
    f"{name}: was {before[name]!r}, is {now[name]!r}"
    for name in sorted(before)
    if before[name] != now[name] and name not in config_lib.FREE_ON_RESUME
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
