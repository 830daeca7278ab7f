"""A catalogue and its photos in, the store that training reads out."""

import csv
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from item_jax.data import records
from item_jax.data.catalogue import Rejected, Row, read_rows
from item_jax.data.images import PREPROCESSING, BadImage
from item_jax.data.ledger import Ledger
from item_jax.data.photos import store_photos
from item_jax.data.publish import new_folder
from item_jax.data.records import Record, StoreWriter
from item_jax.data.tables import estimate_rows
from item_jax.data.tokenizer import Words, load_words, train_wordpiece
from item_jax.errors import UserError
from item_jax.files import write_manifest

TOO_MANY_REJECTED = 3  # exit code
MAX_SPLITS = 16  # a column with more of them is something else


def prepare(
  catalogue: str | os.PathLike,
  *,
  images: str | os.PathLike,
  out: str | os.PathLike,
  columns: dict[str, str] | None = None,
  tokenizer: str | os.PathLike | None = None,
  vocab_size: int = 30_522,
  max_rejected: float = 0.01,
  overwrite: bool = False,
  workers: int | None = None,
) -> int:
  """Writes a store: records, tokenizer, rejected rows and statistics.

  The folder appears complete or not at all, and is the same for any number
  of workers.

  Args:
    catalogue: .csv, .tsv, .jsonl or .parquet.
    images: the folder that paths of photos start from.
    out: the folder to be.
    columns: from item_jax.data.catalogue.COLUMNS to the catalogue's names.
    tokenizer: a tokenizer.json or vocab.txt; None trains one on the titles.
    vocab_size: words at most of one trained.
    max_rejected: share of rows (0 to 1) that may be bad.
    overwrite: whether an earlier store of that name is replaced.
    workers: processes that read photos; None takes one a core.

  Returns:
    0, or 3 when more rows were bad than allowed: then there is no store,
    and the bad rows are listed in `<out>.rejected.csv`.

  Raises:
    UserError, FileNotFoundError, FileExistsError: as the message says.
  """
  if not 0 <= max_rejected <= 1:
    raise UserError(f"max_rejected is a share from 0 to 1, not {max_rejected}")
  images, out = Path(images), Path(out)
  if not images.is_dir():
    raise FileNotFoundError(f"no image folder {images}")
  words = None if tokenizer is None else load_words(tokenizer)
  total = estimate_rows(catalogue)
  aside = out.with_name(f"{out.name}.{records.REJECTED}")
  with new_folder(out, overwrite=overwrite, replaceable=_is_store) as draft:
    ledger = Ledger(draft.path / "ledger.sqlite")
    try:
      rows = read_rows(catalogue, columns=columns)
      outcome = _write(draft.path, rows, images, ledger, workers, total)
      if outcome["rejected"] > max_rejected * outcome["read"]:
        shutil.move(draft.path / records.REJECTED, aside)
        _print_refusal(outcome, max_rejected, out, aside)
        return TOO_MANY_REJECTED
      if outcome["read"] == outcome["rejected"]:
        raise UserError(f"{catalogue} has no row to store")
      if words is None:
        words = _train(ledger, vocab_size)
      words.save(draft.path / records.TOKENIZER)
      found = _describe(catalogue, words, outcome, ledger)
    finally:
      ledger.close()
    (draft.path / "ledger.sqlite").unlink()
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (draft.path / records.CATALOGUE).write_text(text, encoding="utf-8")
    write_manifest(draft.path)
    draft.publish()
  aside.unlink(missing_ok=True)  # of an earlier attempt
  print(report(found))
  print(f"written to {out}")
  return 0


def _is_store(path):
  return (path / records.CATALOGUE).is_file()


def _write(folder, rows, images, ledger, workers, total) -> dict[str, Any]:
  """Writes all records and rejected.csv; counts, and the fingerprints."""
  writer = StoreWriter(folder)
  reasons = Counter()
  splits = set()
  read = 0
  with (
    # Ids may hold what is no UTF-8; that is what they are rejected for.
    open(
      folder / records.REJECTED,
      "w",
      newline="",
      encoding="utf-8",
      errors="backslashreplace",
    ) as file,
    tqdm(total=total, unit="row", file=sys.stderr, smoothing=0.05) as bar,
  ):
    rejections = csv.writer(file, lineterminator="\n")
    rejections.writerow(("row", "id", "reason"))
    for row, stored in store_photos(images, _wanted(rows), workers=workers):
      read += 1
      reason = _reason(row, stored)
      if reason is None:
        record = Record(
          row.listing_id, row.product_id, row.title, row.category, stored
        )
        if ledger.add(row.split, record):
          splits.add(row.split)
          if len(splits) > MAX_SPLITS:
            raise UserError(
              f"more than {MAX_SPLITS} splits, among them"
              f" {', '.join(sorted(splits)[:5])}: is that the right column?"
            )
          writer.add(row.split, record)
        else:
          reason = "duplicate listing_id"
      if reason is not None:
        rejections.writerow((row.number, row.listing_id, reason))
        reasons[reason.partition(": ")[0]] += 1
        bar.set_postfix(rejected=reasons.total(), refresh=False)
      bar.update()
    bar.total = read  # it was estimated from the lines
  return {
    "read": read,
    "rejected": reasons.total(),
    "reasons": dict(reasons.most_common()),
    "fingerprint": writer.close(),
  }


def _wanted(rows) -> Iterator[tuple[Row | Rejected, str]]:
  for row in rows:
    yield row, row.image if isinstance(row, Row) else ""


def _reason(row, stored):
  if isinstance(row, Rejected):
    return row.reason
  return str(stored) if isinstance(stored, BadImage) else None


def _train(ledger, vocab_size):
  try:
    trained = train_wordpiece(ledger.train_titles(), vocab_size=vocab_size)
  except UserError as error:
    raise UserError(f"{error}; --tokenizer FILE takes a ready one") from error
  return Words(trained.to_str(pretty=True))


def _describe(catalogue, words, outcome, ledger):
  return {
    "format": records.FORMAT,
    "catalogue": Path(catalogue).name,
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
  print(_reasons(outcome["reasons"]))
  print(
    f"{rejected:,} of {read:,} rows ({rejected / read:.2%}) are bad, more than"
    f" the {max_rejected:.2%} of --max_rejected: {out} was not written.\n"
    f"Each of them is named in {aside}"
  )


def _reasons(reasons):
  return "\n".join(f"  {count:9,}  {kind}" for kind, count in reasons.items())


def report(found: dict[str, Any]) -> str:
  """catalogue.json in lines for people."""
  rows, products = found["rows"], found["products"]
  listings, tokens = found["listings_per_product"], found["title_tokens"]
  categories = found["categories"]
  several, leaks = found["under_several_products"], found["in_several_splits"]
  rejected = dict(found["rejected"])
  lines = [
    f"rows        {found['read']:,} read, {rows['all']:,} stored,"
    f" {rejected.pop('all'):,} rejected",
    *([_reasons(rejected)] if rejected else []),
    *(
      f"  {split:9} {rows[split]:,} rows of {products[split]:,} products;"
      f" missing: {found['missing_image'][split]:,} photos,"
      f" {found['missing_title'][split]:,} titles"
      for split in rows
      if split != "all"
    ),
    f"products    {products['all']:,},"
    f" {listings['products_with_several']:,} with several listings"
    f" (mean {listings['mean']:.2f}, median {listings['p50']},"
    f" at most {listings['max']})",
    f"categories  {categories['leaves']:,} leaves under"
    f" {categories['top_level']:,} at the top;"
    f" {categories['rows_without']:,} rows without",
    f"vocabulary  {found['vocabulary']['size']:,} words",
  ]
  if "mean" in tokens:
    lines.append(
      f"titles      {tokens['mean']:.1f} tokens (median {tokens['p50']},"
      f" 99 % up to {tokens['p99']}, at most {tokens['max']});"
      f" {tokens['cut_share']:.2%} cut at {tokens['places']} places"
    )
  lines += [
    f"shared      {several['photos']['distinct']:,} photos and"
    f" {several['titles']['distinct']:,} titles under several products",
    f"leakage     {leaks['products']['distinct']:,} products,"
    f" {leaks['photos']['distinct']:,} photos,"
    f" {leaks['titles']['distinct']:,} titles in several splits",
  ]
  return "\n".join(lines)
