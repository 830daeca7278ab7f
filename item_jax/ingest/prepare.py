"""Prepares a catalogue and its images as the data set that training reads."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from etils import epath

from item_jax.bars import show_bar
from item_jax.data import records
from item_jax.data.images import PREPROCESSING
from item_jax.data.records import Dataset, Record, open_dataset
from item_jax.data.summary import list_reasons
from item_jax.data.tokenizer import (
  SPECIAL,
  Tokenizer,
  check_size,
  load_tokenizer,
  train_wordpiece,
  wordpiece,
)
from item_jax.errors import (
  NotFoundError,
  UserError,
  check_fraction,
  check_path,
  check_utf8,
  check_whole,
  name_kind,
)
from item_jax.files import MANIFEST, write_manifest
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.images.addresses import FetchedImages
from item_jax.ingest.images.load import load_images
from item_jax.ingest.kept_splits import KeptSplits
from item_jax.ingest.readers.parts import find_folders
from item_jax.ingest.readers.tables import find_paths, reusable
from item_jax.ingest.row import Reading, Rejected, Row
from item_jax.ingest.rows import (
  Rejections,
  hints,
  make_record,
  reject_duplicate,
)
from item_jax.ingest.statistics import CatalogueStatistics, open_statistics
from item_jax.ingest.survey import Survey, survey
from item_jax.ingest.writer import DatasetWriter
from item_jax.listing import as_list
from item_jax.new_folder import new_folder
from item_jax.remote import check_in_place, check_local

logger = logging.getLogger(__name__)

_STATISTICS = "statistics.sqlite"  # while the folder is being written
_FILES = {  # beside the shards
  records.CATALOGUE,
  records.TOKENIZER,
  records.REJECTED,
  "dataset_info.json",
  "features.json",
  MANIFEST,
}


class TooManyRejected(UserError):  # noqa: N818 - a limit, not a fault
  """More rows are bad than allowed, or all of them; no data set was written.

  file: the CSV that names each of them and why it was rejected.
  """

  def __init__(
    self,
    outcome: dict[str, Any],
    allowed: float,
    out: Path,
    advice: str,
    images: str | os.PathLike,
  ):
    read, rejected = outcome["read"], outcome["rejected"]
    self.file = _rejected_beside(out)
    limit = f"--max_rejected allows {allowed:.2%}"
    super().__init__(
      f"{advice}{list_reasons(outcome['reasons'])}\n"
      f"{hints(self.file, images)}"
      f"{rejected:,} of {read:,} rows ({rejected / read:.2%}) are bad,"
      f" {limit if rejected < read else 'all that there are'}: {out} was not"
      f" written.\nEach of them is named in {self.file}"
    )


def prepare(
  catalogue: str | os.PathLike | Iterable[str | os.PathLike | Mapping],
  images: str | os.PathLike | None = None,
  *,
  out: str | os.PathLike,
  tokenizer: str | os.PathLike | None = None,
  vocab_size: int = 30_522,
  max_rejected: float = 0.01,
  overwrite: bool = False,
  workers: int | None = None,
  reading: Reading | None = None,
  split_of: str | os.PathLike | Dataset | None = None,
  runner: str | None = None,
  runner_options: str | Sequence[str] = (),
) -> Dataset:
  """Writes a data set: records, tokenizer, rejected rows and statistics.

  The folder appears complete or not at all, and is the same for any number of
  workers and any runner.

  Args:
    catalogue: a file, a folder of parts, several of these, or rows: mappings
      of column names to cells (see `Catalogue`).
    images: the folder that the paths of images start from; may be on an object
      store, as in gs://bucket/photos. None takes the catalogue's folder, and
      must be one; for rows, the current one.
    out: the folder to write.
    tokenizer: a tokenizer.json or vocab.txt; None trains one on the titles.
    vocab_size: at most so many tokens, where one is trained.
    max_rejected: the fraction of rows (0 to 1) that may be bad.
    overwrite: whether an earlier data set of that name is replaced.
    workers: processes that read images; None takes one a core.
    reading: how the catalogue is read; None takes the defaults of `Reading`.
    split_of: a data set: each of its products goes to the split that it has
      there, whatever the catalogue says.
    runner: the name of an Apache Beam runner that does the work elsewhere;
      None does it here.
    runner_options: Beam's own, as on a command line: `--name=value`.

  Raises:
    TooManyRejected: more rows are bad than `max_rejected`, or all; they are
      listed in `<out>.rejected.csv`.
    UserError: as the message says.
  """
  catalogue = reusable(catalogue)
  images, *others = _find_images(catalogue) if images is None else [images]
  _check(images, out, max_rejected, workers, reading)
  out = Path(os.path.abspath(out))
  ready = None if tokenizer is None else load_tokenizer(tokenizer)
  if ready is None:
    check_size(vocab_size)
  write = _make_pipeline(runner, runner_options, workers) if runner else None
  opened = Catalogue(catalogue, reading)
  kept = KeptSplits(split_of)
  with new_folder(out, overwrite=overwrite, replaceable=_is_dataset) as folder:
    found = survey(opened, train=ready is None)
    write = write or partial(_write, workers=workers, total=found.rows)
    with open_statistics(folder / _STATISTICS) as statistics:
      fetched = FetchedImages(images, *others)
      rows = kept.replace(fetched.replace(opened.rows(found.split_of)))
      outcome = write(folder, rows, images, statistics)
      if outcome["read"] != found.rows:
        raise UserError(
          f"{opened.name} was changed while it was read: {found.rows:,} rows,"
          f" then {outcome['read']:,}"
        )
      advice = _advise(fetched, opened, out)
      too_many = outcome["rejected"] > max_rejected * outcome["read"]
      if too_many or not outcome["fingerprint"]:
        shutil.move(folder / records.REJECTED, _rejected_beside(out))
        raise TooManyRejected(outcome, max_rejected, out, advice, images)
      if advice:
        logger.info("%s", advice.rstrip())
      ready = ready or _train(statistics, vocab_size)
      ready.save(folder / records.TOKENIZER)
      described = _describe(opened, found, ready, outcome, statistics)
      described["reading"]["kept_split"] = kept.rows
    _finish(folder, described)
  _rejected_beside(out).unlink(missing_ok=True)  # of an earlier attempt
  return open_dataset(out)


def _finish(folder: Path, described: dict[str, Any]) -> None:
  """Writes what comes last."""
  (folder / _STATISTICS).unlink()
  text = json.dumps(described, indent=2, ensure_ascii=False)
  (folder / records.CATALOGUE).write_text(f"{text}\n", "utf-8")
  write_manifest(folder)


def _find_images(catalogue) -> list[Path]:
  """The folders of a catalogue's files; for rows, the current one."""
  return find_folders(find_paths(catalogue) or [])


def _check(images, out, max_rejected, workers, reading) -> None:
  """Refuses impossible options before any work."""
  if not isinstance(reading, (Reading, type(None))):
    raise UserError(f"reading={name_kind(reading)}: expected a Reading")
  check_fraction("max_rejected", max_rejected)
  if workers is not None:
    check_whole("workers", workers, at_least=0)
  check_path(out, "out")
  check_local(out)
  check_utf8(os.path.realpath(out))
  check_path(images, "images")
  check_in_place(images)
  if not os.path.basename(os.path.abspath(out)):
    raise UserError(f"{out} has no name, expected a folder to be made")
  if not epath.Path(images).is_dir():
    if epath.Path(images).exists():
      raise UserError(f"{images} is a file, expected a folder of images")
    raise NotFoundError(f"no image folder {images}")


def _rejected_beside(out: Path) -> Path:
  """The list of rejected rows where there is no data set to hold it."""
  return out.with_name(f"{out.name}.{records.REJECTED}")


def _make_pipeline(runner, options, workers):
  """`_write`, done by the workers of a Beam runner."""
  if workers is not None:
    raise UserError(
      f"--workers={workers} is for this machine alone; how many workers"
      f" {runner} takes is among its own options, as in"
      " --direct_num_workers=2 or --num_workers=20"
    )
  try:
    from item_jax.ingest import beam
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "apache_beam":
      raise
    raise UserError(
      f"--runner={runner} takes Apache Beam: pip install -e '.[beam]' in"
      " item-jax's clone"
    ) from error
  options = beam.read_options(runner, as_list(options, "runner_options"))
  return partial(beam.write, runner=runner, options=options)


def _is_dataset(folder: Path) -> bool:
  """Whether a folder holds what prepare writes, and nothing else."""
  names = {entry.name for entry in folder.iterdir()}
  shards = {name for name in names if name.startswith(f"{records.NAME}-")}
  return records.CATALOGUE in names and names <= shards | _FILES


def _advise(fetched: FetchedImages, opened: Catalogue, out: Path) -> str:
  """Lists images that were not fetched in a file; explains what to do."""
  if not fetched.missing:
    return ""
  addresses = out.with_name(f"{out.name}.addresses.csv")
  return f"{fetched.explain(opened.rows(), addresses)}\n"


def _write(
  folder, rows, images, statistics, *, workers, total
) -> dict[str, Any]:
  """Writes all records and rejected.csv; counts, and the fingerprints."""
  writer = DatasetWriter(folder)
  wanted = ((row, row.image if isinstance(row, Row) else "") for row in rows)
  read = 0
  with (
    Rejections(folder) as rejections,
    show_bar(total=total, desc="preparing", smoothing=0.05) as bar,
  ):
    for row, image in load_images(images, wanted, workers=workers):
      read += 1
      made = make_record(row, image)
      if isinstance(made, Record):
        assert isinstance(row, Row)
        if statistics.add(row.split, made, image):
          writer.add(row.split, made)
        else:
          made = reject_duplicate(row.number, row.listing_id)
      if isinstance(made, Rejected):
        rejections.add(made)
        bar.set_postfix(rejected=rejections.total(), refresh=False)
      bar.update()
  return rejections.outcome(read, writer.close())


def _train(statistics: CatalogueStatistics, vocab_size: int) -> Tokenizer:
  if not statistics.has_titles():
    logger.info(
      "no listing has a title: the vocabulary is the special tokens alone"
    )
    return Tokenizer(wordpiece(SPECIAL).to_str(pretty=True))
  try:
    trained = train_wordpiece(statistics.train_titles(), vocab_size=vocab_size)
  except UserError as error:
    raise UserError(f"{error}; --tokenizer FILE takes a ready one") from error
  return Tokenizer(trained.to_str(pretty=True))


def _describe(
  opened: Catalogue,
  found: Survey,
  tokenizer: Tokenizer,
  outcome: dict[str, Any],
  statistics: CatalogueStatistics,
) -> dict[str, Any]:
  """What catalogue.json holds."""
  return {
    "format": records.FORMAT,
    "catalogue": opened.name,
    "files": len(opened.tables),
    "reading": opened.describe() | {"followed_split": found.followed},
    "fingerprint": outcome["fingerprint"],
    "preprocessing": PREPROCESSING,
    "tokenizer": tokenizer.fingerprint,
    "vocabulary": {
      "size": tokenizer.size,
      "pad": tokenizer.pad,
      "unk": tokenizer.unk,
      "cls": tokenizer.cls,
      "sep": tokenizer.sep,
      "mask": tokenizer.mask,
    },
    "read": outcome["read"],
    "rejected": {"all": outcome["rejected"], **outcome["reasons"]},
    **statistics.compute(tokenizer),
  }
