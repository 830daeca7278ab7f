"""Builds, keeps and asks the indexes of other search engines.

An engine is a record of functions, which get the engine's module first. Rows
have the keys 0, 1, ... in the order in which they were added.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError

DTYPES = ("float32", "float16", "int8")
_BLOCK = 8_192  # rows added at a time
_TRAIN_ROWS = 65_536  # that faiss learns the range of each value from
_WIDTH = 200  # candidates that a graph looks at, as in docs/search_engines.md


class UnitRows(NamedTuple):
  """Rows at unit length, made as they are needed.

  vectors_ND: of any length, maybe on disk. scale_N: 1 / length, float64.
  """

  vectors_ND: np.ndarray
  scale_N: np.ndarray

  @property
  def shape(self) -> tuple[int, int]:
    return self.vectors_ND.shape

  def take(self, rows) -> np.ndarray:
    """Rows by number or slice, float32 [R, D], row after row in memory."""
    taken_RD = np.asarray(self.vectors_ND[rows], np.float32)
    scale_R = self.scale_N[rows].astype(np.float32)
    return np.ascontiguousarray(taken_RD * scale_R[:, None])

  def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields keys int64 [B] and rows [B, D]."""
    for first in range(0, len(self.vectors_ND), _BLOCK):
      rows = slice(first, min(first + _BLOCK, len(self.vectors_ND)))
      yield np.arange(rows.start, rows.stop), self.take(rows)


class Engine(NamedTuple):
  """A search engine by inner product or cosine of unit rows.

  module: that is imported. dtypes: what it can hold values in. exact: whether
  it looks at every row (of values as it holds them); a graph is approximate.

  build: (module, UnitRows, dtype) -> index. save: (module, index, Path).
  load: (module, Path, (rows, dims), dtype) -> index. search: (module, index,
  queries [Q, D], k) -> keys int64 [Q, k], best first, -1 where there is none;
  k is at most the number of rows.
  """

  module: str
  dtypes: tuple[str, ...]
  exact: bool
  build: Callable[..., Any]
  save: Callable[..., None]
  load: Callable[..., Any]
  search: Callable[..., np.ndarray]


def open_engine(name: str, dtypes: tuple[str, ...]) -> tuple[Engine, Any, str]:
  """Finds an engine, its module and its version.

  Raises:
    UserError: there is no such engine, it is not installed, or it cannot hold
      values of a dtype.
  """
  if name not in ENGINES:
    raise UserError(f"engine={name!r}: known are {', '.join(ENGINES)}")
  engine = ENGINES[name]
  for dtype in dtypes:
    if dtype not in engine.dtypes:
      able = [n for n, other in ENGINES.items() if dtype in other.dtypes]
      raise UserError(
        f"{name} cannot hold {dtype!r}: it holds"
        f" {', '.join(engine.dtypes)}"
        + (f"; {dtype} is held by {', '.join(able)}" if able else "")
      )
  root = engine.module.partition(".")[0]
  if importlib.util.find_spec(root) is None:
    raise UserError(
      f"{name} is not installed: pip install -e '.[index]' in item-jax's clone"
    )
  # hnswlib is installed from packages of several names.
  packages = metadata.packages_distributions().get(root, [])
  version = metadata.version(packages[0]) if packages else "unknown"
  return engine, importlib.import_module(engine.module), version


def _build_faiss(faiss, unit: UnitRows, dtype: str):
  rows, dims = unit.shape
  if dtype == "float32":
    index = faiss.IndexFlatIP(dims)
  else:
    kinds = {
      "float16": faiss.ScalarQuantizer.QT_fp16,
      "int8": faiss.ScalarQuantizer.QT_8bit,
    }
    index = faiss.IndexScalarQuantizer(
      dims, kinds[dtype], faiss.METRIC_INNER_PRODUCT
    )
    step = -(-rows // _TRAIN_ROWS)  # evenly from all of them
    index.train(unit.take(slice(None, None, step)))
  for _, block_BD in unit.blocks():
    index.add(block_BD)
  return index


def _search_faiss(faiss, index, queries_QD, k: int) -> np.ndarray:
  return index.search(queries_QD, k)[1]


def _new_usearch(usearch, dims: int, dtype: str):
  kinds = {"float32": "f32", "float16": "f16", "int8": "i8"}
  return usearch.Index(
    ndim=dims, metric="cos", dtype=kinds[dtype], expansion_search=_WIDTH
  )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
  """Raises KeyboardInterrupt where usearch tells it as an error of its own."""
  try:
    yield
  except RuntimeError as error:
    if "has been terminated" in str(error):
      raise KeyboardInterrupt from error
    raise


@_interruptible()
def _build_usearch(usearch, unit: UnitRows, dtype: str):
  index = _new_usearch(usearch, unit.shape[1], dtype)
  for keys_B, block_BD in unit.blocks():
    index.add(keys_B, block_BD)
  return index


def _load_usearch(usearch, path: Path, shape, dtype: str):
  index = _new_usearch(usearch, shape[1], dtype)
  index.load(str(path))
  return index


@_interruptible()
def _search_usearch(usearch, index, queries_QD, k: int) -> np.ndarray:
  hits = index.search(queries_QD, k)
  # One query is answered without the axis of queries; where there are fewer
  # than k, key 0 stands at distance NaN.
  keys_QK, distances_QK = np.atleast_2d(hits.keys, hits.distances)
  found_QK = np.full((len(queries_QD), k), -1)
  there_QK = np.where(np.isnan(distances_QK), -1, keys_QK.astype(np.int64))
  found_QK[:, : there_QK.shape[1]] = there_QK
  return found_QK


def _build_hnswlib(hnswlib, unit: UnitRows, dtype: str):
  index = hnswlib.Index("cosine", unit.shape[1])
  index.init_index(max_elements=unit.shape[0])
  for keys_B, block_BD in unit.blocks():
    index.add_items(block_BD, keys_B)
  return index


def _load_hnswlib(hnswlib, path: Path, shape, dtype: str):
  index = hnswlib.Index("cosine", shape[1])  # the file does not say which
  index.load_index(str(path), max_elements=shape[0])
  return index


def _search_hnswlib(hnswlib, index, queries_QD, k: int) -> np.ndarray:
  index.set_ef(max(_WIDTH, k))
  return index.knn_query(queries_QD, k)[0].astype(np.int64)


ENGINES = {
  "faiss": Engine(
    *("faiss", DTYPES, True, _build_faiss),
    save=lambda faiss, index, path: faiss.write_index(index, str(path)),
    load=lambda faiss, path, shape, dtype: faiss.read_index(str(path)),
    search=_search_faiss,
  ),
  "usearch": Engine(
    *("usearch.index", DTYPES, False, _build_usearch),
    save=lambda usearch, index, path: index.save(str(path)),
    load=_load_usearch,
    search=_search_usearch,
  ),
  "hnswlib": Engine(
    *("hnswlib", DTYPES[:1], False, _build_hnswlib),
    save=lambda hnswlib, index, path: index.save_index(str(path)),
    load=_load_hnswlib,
    search=_search_hnswlib,
  ),
}
