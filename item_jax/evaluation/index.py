"""Makes an index of another search engine, and measures what it finds.

The folder: ids.csv, whose line i after the header is the listing of the index's
key i; DTYPE.ENGINE, the engine's own file; and index.json, written last.
"""

import csv
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError, check_utf8, check_whole
from item_jax.evaluation.engines import ENGINES, Engine, UnitRows, open_engine
from item_jax.evaluation.items import Export, is_export
from item_jax.evaluation.search import search
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.vectors import Mixed, lengths
from item_jax.files import (
  CorruptError,
  read_checksummed,
  sha256,
  write_checksummed,
)
from item_jax.new_folder import new_folder

RECORD, IDS = "index.json", "ids.csv"
K = 10
# Cosines that differ by less are equal: float32's last bits differ from engine
# to engine, and of equal ones any may be found.
EQUAL = 1e-6
_SECONDS = 0.5  # that a speed is measured for, at least
_QUERIES = 256  # whose hits are scored at a time


class Measured(NamedTuple):
  """What an index gives and takes.

  dtype: of its values. recall: the mean fraction of the exact `k` nearest that
  it finds; None where there is one row only. queries_per_second: all at once.
  bytes: of its file.
  """

  dtype: str
  k: int
  recall: float | None
  queries_per_second: float
  bytes: int


class Built(NamedTuple):
  """An index that was written: `record` is what index.json holds."""

  out: Path
  record: dict[str, Any]
  measured: list[Measured]

  def to_dict(self) -> dict[str, Any]:
    return self.record

  def __str__(self) -> str:
    r = self.record
    how = "every row" if r["exact"] else "a graph, approximate"
    lines = [
      f"{self.out}: {r['engine']} {r['version']} ({how}), {r['rows']:,} rows of"
      f" {r['dims']}, {r['left_out']:,} left out that have nothing to compare"
      f" or are queries alone; {r['queries']:,} queries",
      f"{'values':8}  {f'recall@{K}':>9}  {'lost':>6}  {'queries/s':>9}"
      f"  {'bytes':>13}",
    ]
    for m in self.measured:
      found = ["-", "-"]
      if m.recall is not None:
        found = [f"{m.recall:.4f}", f"{1 - m.recall:.4f}"]
      lines.append(
        f"{m.dtype:8}  {found[0]:>9}  {found[1]:>6}"
        f"  {m.queries_per_second:9,.0f}  {m.bytes:13,}"
      )
    return "\n".join(lines)


def build_index(
  what: Any,
  *,
  engine: str,
  out: str | os.PathLike,
  dtypes: Sequence[str] = ("float32",),
  queries: int = 1_000,
  data: Any = None,
  split: str = "test",
  overwrite: bool = False,
) -> Built:
  """Makes an index of vectors, reads it back and measures it.

  Rows that have nothing to compare (zeros, the null embedding), or whose role
  is "query" alone, are left out and counted; the others are brought to unit
  length. A variant is measured as it was read from its file: against the exact
  search of the same rows in float32.

  Args:
    what, data, split: as of `sources.open_source`; dense vectors.
    engine: of `engines.ENGINES`.
    out: the folder to write; it has its name when it is complete.
    dtypes: of `engines.DTYPES`; a file for each.
    queries: how many rows are searched for, drawn by a seed; all where there
      are no more.
    overwrite: whether another index in `out` is replaced.

  Raises:
    UserError: the engine is unknown, not installed or cannot hold a dtype;
      vectors that cannot be searched, or none; `out` is there already.
  """
  dtypes = tuple(dtypes)
  if not dtypes or len(set(dtypes)) < len(dtypes):
    raise UserError(f"dtypes={dtypes}: expected one or more, each once")
  check_whole("queries", queries, at_least=1)
  check_utf8(os.path.realpath(out))
  how, module, version = open_engine(engine, dtypes)
  unit, ids, left_out, source = _open(what, data, split)
  asked = _draw(len(ids), queries)
  k = min(K, len(ids) - 1)
  exact = search(unit.vectors_ND, ids, k=k, queries=asked) if k else None
  measured = []
  with new_folder(out, overwrite=overwrite, replaceable=_is_index) as folder:
    for dtype in dtypes:
      path = folder / f"{dtype}.{engine}"
      index = how.build(module, unit, dtype)
      try:
        how.save(module, index, path)
        del index
        index = how.load(module, path, unit.shape, dtype)
      except RuntimeError as error:  # all that engines know of a full disk
        reason = str(error).strip().splitlines()[-1]
        raise OSError(f"{path} could not be kept: {reason}") from error
      found_QK, speed = _ask(how, module, index, unit.take(asked), k + 1)
      recall = None
      if exact is not None:
        recall = recall_of(found_QK, asked, unit, exact.scores_QK)
      size = path.stat().st_size
      measured.append(Measured(dtype, k, recall, speed, size))
    _write_ids(folder / IDS, ids)
    record = {
      "engine": engine,
      "version": version,
      "exact": how.exact,
      "rows": len(ids),
      "dims": unit.shape[1],
      "left_out": left_out,
      "queries": len(asked),
      "source": source,
      "measured": [one._asdict() for one in measured],
      "files": {p.name: sha256(p) for p in sorted(folder.iterdir())},
    }
    write_checksummed(folder / RECORD, record)
  return Built(Path(out), record, measured)


def made_anew(folder: Path) -> Path | None:
  """Returns the export that an index was made of, if it holds others now."""
  made = read_checksummed(folder / RECORD).get("source", {}).get("export")
  if not made or not is_export(made["path"]):
    return None  # of no export, or of one that was moved
  try:
    export = Export(made["path"])
    return None if export.meta["files"] == made["files"] else export.path
  except CorruptError:  # what `verify` says of the export
    return None


def _open(what, data, split) -> tuple[UnitRows, list[str], int, dict[str, Any]]:
  """Rows that can be found, their ids, how many cannot; the system's name."""
  source = open_source(what, data=data, split=split)
  vectors_ND, ids = source.vectors, source.items.ids
  if isinstance(vectors_ND, Mixed):
    raise UserError(
      f"{source.name} has a sparse part, which these engines do not hold:"
      " expected dense vectors"
    )
  searched_N = np.zeros(len(ids), bool)  # as `evaluate` searches them
  searched_N[source.items.rows("index")] = True
  held_N = source.held() & searched_N
  length_N = lengths(vectors_ND, ids, source=source.name, has_N=held_N)
  if not held_N.any():
    raise UserError(
      f"{source.name}: none of {int(searched_N.sum())} rows has anything to"
      " compare"
    )
  left_out = int((~held_N).sum())
  if left_out:
    vectors_ND, length_N = vectors_ND[held_N], length_N[held_N]
    ids = [name for name, held in zip(ids, held_N, strict=True) if held]
  system = dict(source.system)
  if source.export is not None:  # `verify` sees whether it was made anew
    path, files = source.export.path.resolve(), source.export.meta["files"]
    system["export"] = {"path": str(path), "files": files}
  return UnitRows(vectors_ND, 1 / length_N), ids, left_out, system


def _draw(rows: int, queries: int) -> np.ndarray:
  """Row numbers, ascending."""
  drawn = np.random.default_rng(0).permutation(rows)[:queries]
  return np.sort(drawn)


def _ask(how: Engine, module, index, queries_QD, k) -> tuple[np.ndarray, float]:
  """Searches all queries at once; keys [Q, k], and queries a second."""
  found_QK, times = None, 0
  start = time.perf_counter()
  while found_QK is None or time.perf_counter() - start < _SECONDS:
    found_QK = how.search(module, index, queries_QD, k)
    times += 1
  seconds = time.perf_counter() - start
  return found_QK, times * len(queries_QD) / seconds


def recall_of(
  found_QK: np.ndarray, queries_Q: np.ndarray, unit: UnitRows, exact_QK
) -> float:
  """The mean fraction of the exact nearest that was found.

  A row counts where its cosine is the last exact one's or higher (up to
  `EQUAL`): of listings with the same score any is as good. It counts once, and
  never for itself.

  Args:
    found_QK: keys that an engine found, best first; -1 for none; one more than
      the exact ones, as a query may find itself.
    queries_Q: the row of each query.
    exact_QK: exact cosines of the nearest others, best first.
  """
  k = exact_QK.shape[1]
  near_QK = others(found_QK, queries_Q, k)
  hits = 0
  for first in range(0, len(queries_Q), _QUERIES):
    part = slice(first, first + _QUERIES)
    near = near_QK[part]
    # -1 takes the last row, and is not counted.
    shape = *near.shape, unit.shape[1]
    rows_PKD = unit.take(near.ravel()).reshape(shape).astype(np.float64)
    query_PD = unit.take(queries_Q[part]).astype(np.float64)
    cosine_PK = np.einsum("pkd,pd->pk", rows_PKD, query_PD)
    good_PK = cosine_PK >= exact_QK[part, -1:] - EQUAL
    hits += int((good_PK & (near >= 0)).sum())
  return hits / (len(queries_Q) * k)


def others(found_QK: np.ndarray, queries_Q: np.ndarray, k: int) -> np.ndarray:
  """The first `k` that are not the query, each once, int64 [Q, k]; -1: none."""
  earlier = np.tri(found_QK.shape[1], k=-1, dtype=bool)  # column before row
  same_QKK = found_QK[:, :, None] == found_QK[:, None, :]
  keep_QK = (found_QK != queries_Q[:, None]) & (found_QK >= 0)
  keep_QK &= ~(same_QKK & earlier).any(axis=2)
  order_QK = np.argsort(~keep_QK, axis=1, kind="stable")[:, :k]
  kept_QK = np.take_along_axis(keep_QK, order_QK, axis=1)
  return np.where(kept_QK, np.take_along_axis(found_QK, order_QK, axis=1), -1)


def _write_ids(path: Path, ids: Sequence[str]) -> None:
  with path.open("w", newline="", encoding="utf-8") as file:
    lines = csv.writer(file)
    lines.writerow(["id"])
    lines.writerows([name] for name in ids)


def _is_index(folder: Path) -> bool:
  """Whether a folder holds an index and nothing else."""
  if not (folder / RECORD).is_file():
    return False
  endings = [f".{name}" for name in ENGINES]
  return all(
    path.name in (RECORD, IDS) or path.suffix in endings
    for path in folder.iterdir()
  )
