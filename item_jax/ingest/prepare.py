"""A catalogue and its photos in, the store that training reads out."""

import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from item_jax.data import records
from item_jax.data.images import PREPROCESSING
from item_jax.data.records import Record
from item_jax.data.tokenizer import (
  SPECIAL,
  Tokenizer,
  check_size,
  load_tokenizer,
  train_wordpiece,
  wordpiece,
)
from item_jax.errors import UserError
from item_jax.files import MANIFEST, write_manifest
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.images.addresses import Replaced
from item_jax.ingest.images.photos import store_photos
from item_jax.ingest.ledger import open_ledger
from item_jax.ingest.row import Reading, Rejected, Row
from item_jax.ingest.rows import Rejections, make_record, reject_duplicate
from item_jax.ingest.summary import list_reasons, report
from item_jax.ingest.survey import Survey, survey
from item_jax.ingest.writer import StoreWriter
from item_jax.new_folder import new_folder
from item_jax.remote import check_in_place, check_local

TOO_MANY_REJECTED = 3  # exit code
_FILES = {  # beside the shards
  records.CATALOGUE,
  records.TOKENIZER,
  records.REJECTED,
  "dataset_info.json",
  "features.json",
  MANIFEST,
}


def prepare(
  catalogue: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  images: str | os.PathLike,
  out: str | os.PathLike,
  reading: Reading | None = None,
  tokenizer: str | os.PathLike | None = None,
  vocab_size: int = 30_522,
  max_rejected: float = 0.01,
  overwrite: bool = False,
  workers: int | None = None,
  runner: str | None = None,
  runner_options: Sequence[str] = (),
) -> int:
  """Writes a store: records, tokenizer, rejected rows and statistics.

  The folder appears complete or not at all, and is the same for any number
  of workers, and for any runner.

  Args:
    catalogue: as `Catalogue` takes it.
    images: the folder that paths of photos start from; may be of an object
      store, as in gs://bucket/photos.
    out: the folder to be.
    reading: how the catalogue is read.
    tokenizer: a tokenizer.json or vocab.txt; None trains one on the titles.
    vocab_size: words at most of one trained.
    max_rejected: share of rows (0 to 1) that may be bad.
    overwrite: whether an earlier store of that name is replaced.
    workers: processes that read photos; None takes one a core.
    runner: the name of an Apache Beam runner that does the work elsewhere;
      None does it here.
    runner_options: Beam's own, as on a command line: `--name=value`.

  Returns:
    0, or 3 when more rows were bad than allowed, or all: then there is no
    store, and the bad rows are listed in `<out>.rejected.csv`.

  Raises:
    UserError, FileNotFoundError, FileExistsError: as the message says.
  """
  if not 0 <= max_rejected <= 1:
    raise UserError(f"max_rejected is a share from 0 to 1, not {max_rejected}")
  if workers is not None and workers < 0:
    raise UserError(f"workers is a number of processes, not {workers}")
  check_local(out)
  check_in_place(images)
  out = Path(os.path.abspath(out))
  if not out.name:
    raise UserError(f"{out} has no name, expected a folder to be made")
  if not epath.Path(images).is_dir():
    raise FileNotFoundError(f"no image folder {images}")
  if tokenizer is None:
    words = None
    check_size(vocab_size)
  else:
    words = load_tokenizer(tokenizer)
  write = _make_pipeline(runner, runner_options, workers) if runner else None
  opened = Catalogue(catalogue, reading)
  aside = out.with_name(f"{out.name}.{records.REJECTED}")
  with new_folder(out, overwrite=overwrite, replaceable=_is_store) as draft:
    found = survey(opened, train=words is None)
    write = write or functools.partial(
      _write, workers=workers, total=found.rows
    )
    replaced = Replaced(images)
    with open_ledger(draft.path / "ledger.sqlite") as ledger:
      rows = replaced.rows(opened.rows(found.split_of))
      outcome = write(draft.path, rows, images, ledger)
      if replaced.unfetched:
        listed = out.with_name(f"{out.name}.addresses.csv")
        print(replaced.explain(opened.rows(), listed))
      if outcome["read"] != found.rows:
        raise UserError(
          f"{opened.name} was changed while it was read: {found.rows:,} rows,"
          f" then {outcome['read']:,}"
        )
      if not outcome["fingerprint"] or (
        outcome["rejected"] > max_rejected * outcome["read"]
      ):
        shutil.move(draft.path / records.REJECTED, aside)
        _print_refusal(outcome, max_rejected, out, aside)
        return TOO_MANY_REJECTED
      if words is None:
        words = _train(ledger, vocab_size)
      words.save(draft.path / records.TOKENIZER)
      described = _describe(opened, found, words, outcome, ledger)
    (draft.path / "ledger.sqlite").unlink()
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (draft.path / records.CATALOGUE).write_text(text, encoding="utf-8")
    write_manifest(draft.path)
    draft.publish()
  aside.unlink(missing_ok=True)  # of an earlier attempt
  print(report(described))
  print(f"written to {out}")
  return 0


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
  options = beam.read_options(runner, options)
  return functools.partial(beam.write, runner=runner, options=options)


def _is_store(path):
  """Whether it holds what prepare writes, and nothing else."""
  names = {entry.name for entry in path.iterdir()}
  ours = {name for name in names if name.startswith(f"{records.NAME}-")}
  return records.CATALOGUE in names and names <= ours | _FILES


def _write(folder, rows, images, ledger, *, workers, total) -> dict[str, Any]:
  """Writes all records and rejected.csv; counts, and the fingerprints."""
  writer = StoreWriter(folder)
  read = 0
  with (
    Rejections(folder) as rejections,
    tqdm(total=total, unit="row", file=sys.stderr, smoothing=0.05) as bar,
  ):
    for row, stored in store_photos(images, _wanted(rows), workers=workers):
      read += 1
      made = make_record(row, stored)
      if isinstance(made, Record) and not ledger.add(row.split, made, stored):
        made = reject_duplicate(row.number, row.listing_id)
      if isinstance(made, Record):
        writer.add(row.split, made)
      else:
        rejections.add(made)
        bar.set_postfix(rejected=rejections.total(), refresh=False)
      bar.update()
  return rejections.outcome(read, writer.close())


def _wanted(rows) -> Iterator[tuple[Row | Rejected, str]]:
  for row in rows:
    yield row, row.image if isinstance(row, Row) else ""


def _train(ledger, vocab_size):
  if not ledger.has_titles():
    print("no listing has a title: the vocabulary is the special words alone")
    return Tokenizer(wordpiece(SPECIAL).to_str(pretty=True))
  try:
    trained = train_wordpiece(ledger.train_titles(), vocab_size=vocab_size)
  except UserError as error:
    raise UserError(f"{error}; --tokenizer FILE takes a ready one") from error
  return Tokenizer(trained.to_str(pretty=True))


def _describe(opened: Catalogue, found: Survey, words, outcome, ledger):
  return {
    "format": records.FORMAT,
    "catalogue": opened.name,
    "files": len(opened.tables),
    "reading": opened.describe() | {"followed_split": found.followed},
    "fingerprint": outcome["fingerprint"],
    "preprocessing": PREPROCESSING,
    "tokenizer": words.fingerprint,
    "vocabulary": {
      "size": words.size,
      "pad": words.pad,
      "unk": words.unk,
      "cls": words.cls,
      "sep": words.sep,
      "mask": words.mask,
    },
    "read": outcome["read"],
    "rejected": {"all": outcome["rejected"], **outcome["reasons"]},
    **ledger.statistics(words),
  }


def _print_refusal(outcome, max_rejected, out, aside):
  read, rejected = outcome["read"], outcome["rejected"]
  print(list_reasons(outcome["reasons"]))
  allowed = f"--max_rejected allows {max_rejected:.2%}"
  print(
    f"{rejected:,} of {read:,} rows ({rejected / read:.2%}) are bad,"
    f" {allowed if rejected < read else 'all that there are'}: {out} was not"
    f" written.\nEach of them is named in {aside}"
  )
