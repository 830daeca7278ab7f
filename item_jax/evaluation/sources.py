"""Opens what is scored: an export, vectors of any other model, or a baseline.

E                    an export's folder, or a fusion's
FILE.npy:ITEMS.csv   vectors of another model, and what the rows are
tfidf, thumbnail     what needs no training, of a prepared catalogue
"""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.items import (
  Export,
  Items,
  is_export,
  open_export,
  open_items,
)
from item_jax.evaluation.vectors import Mixed, as_vectors
from item_jax.ingest.readers.cells import MISSING

BASELINES = ("tfidf", "thumbnail")
_NPY = ".npy:"  # between the two files of a pair
_ROWS = 2048  # looked at at a time


@dataclass(frozen=True, eq=False)
class Source:
  """Vectors of one split, and the listings that they are of.

  name: what messages call it. vectors: float [N, D], or `Mixed`. system: what
  is known of the model, as an export's meta.json; of one system it is the same
  on every split. export: where there is one. has_N: which rows have something
  to compare; None where `held` has to look.
  """

  name: str
  vectors: np.ndarray | Mixed
  items: Items
  system: Mapping[str, Any] = field(default_factory=dict)
  export: Export | None = None
  has_N: np.ndarray | None = None

  @property
  def space(self) -> str:
    """As of `Export`; "" where there is none."""
    return self.export.space if self.export else ""

  def held(self) -> np.ndarray:
    """Which rows have something to compare, bool [N].

    An export of a model says it in items.csv (has_image, has_title), since a
    transformer's null embedding looks like any other vector. Else a row without
    anything is zero, or all its values are the same, and below zero.

    Raises:
      UserError: items.csv lacks such a column.
    """
    if self.has_N is not None:
      return self.has_N
    if isinstance(self.vectors, Mixed):
      square_N = self.vectors.sparse_NV.power(2).sum(axis=1)
      return (square_N > 0) | _has_values(self.vectors.dense_ND)
    if self.export is None or "parts" in self.export.meta:  # of a fusion
      return _has_values(self.vectors)
    meta, path = self.export.meta, self.export.path / "items.csv"
    side = meta.get("sees") or meta["modality"]
    sides = ("image", "title") if side == "both" else (side,)
    return np.logical_or.reduce([_read_flags(path, f"has_{x}") for x in sides])


def is_source(what: Any) -> bool:
  """Whether `open_source` takes it without items: not vectors alone.

  Of a pair the second has to be items, and no list of categories.
  """
  if isinstance(what, tuple) and len(what) == 2:
    items = what[1]
    if isinstance(items, list) and items:
      return isinstance(items[0], Mapping)
    kinds = (Items, str, os.PathLike, Mapping, Export)
    framed = hasattr(items, "columns") or hasattr(items, "column_names")
    return framed or isinstance(items, kinds)
  return isinstance(what, (str, os.PathLike, Export, Source)) or hasattr(
    what, "as_source"
  )


def open_source(
  what: Any,
  items: Any = None,
  *,
  data: Any = None,
  split: str = "test",
  missing: str | Sequence[str] = MISSING,
) -> Source:
  """Opens vectors and their items.

  Args:
    what: a text as this module's docstring lists; an export, a fusion or a
      source; a pair of vectors and items; or vectors: float [N, D], a sparse
      array of scipy or an .npy's path.
    items: what the rows are, where `what` does not bring its own, or others
      are meant; as of `open_items`.
    data: the prepared catalogue of a baseline, or its folder. split: of it.
    missing: words of a table of items that stand for a missing value.

  Raises:
    UserError: it is none of these, or not as it has to be.
  """
  if isinstance(what, tuple) and len(what) == 2 and items is None:
    what, items = what
  if isinstance(what, str) and what in BASELINES:
    return _open_baseline(what, data, split)
  name = "vectors"
  if isinstance(what, (str, os.PathLike)):
    name = str(what)
    if items is None and _NPY in name and not Path(name).exists():
      file, _, items = name.partition(_NPY)
      what = Path(f"{file}.npy")
    elif is_export(what) or (items is None and not name.endswith(".npy")):
      what = open_export(what)
  if isinstance(what, Export):
    what = Source(
      str(what.path), what.vectors, what.items, _system(what.meta), what
    )
  elif as_source := getattr(what, "as_source", None):
    what = as_source()
  if isinstance(what, Source):
    if items is None:
      return what
    name, what = what.name, what.vectors
  if items is None:
    raise UserError(
      f"{name} without items: expected an export, FILE.npy:ITEMS.csv or one of"
      f" {', '.join(BASELINES)}; only an export brings its own items"
    )
  listed = open_items(items, missing)
  vectors = as_vectors(what, listed.ids)
  dims = None if isinstance(vectors, Mixed) else vectors.shape[1]
  return Source(name, vectors, listed, {"dims": dims})


def _system(meta: Mapping[str, Any]) -> dict[str, Any]:
  return {name: meta.get(name) for name in ("checkpoint", "modality", "dims")}


def _open_baseline(name: str, data: Any, split: str) -> Source:
  if data is None:
    raise UserError(
      f"{name} is made of a prepared catalogue: --data=DATA (in Python data=)"
      " names it"
    )
  # Here and not above: they are scored by what scores sources.
  from item_jax.data.records import open_dataset
  from item_jax.evaluation import baselines

  dataset = open_dataset(data)
  has_N = None
  if name == "tfidf":
    items, (titles,) = baselines.read(dataset, split, baselines.title)
    vectors, modality = baselines.tfidf_vectors(titles), "title"
    values = titles
  else:
    items, (images,) = baselines.read(dataset, split, baselines.small_image)
    vectors, modality = baselines.colours(images), "image"
    has_N = np.array([image is not None for image in images])
    values = has_N
  if not any(values):
    raise UserError(
      f"{name}: no listing of split {split!r} of {dataset.path} has"
      f" {'a title' if modality == 'title' else 'an image'}"
    )
  system = {"checkpoint": name, "modality": modality}
  return Source(f"{name} of {split}", vectors, items, system, None, has_N)


def _has_values(vectors_ND: np.ndarray) -> np.ndarray:
  """Whether a row is anything but zeros or the null embedding, bool [N]."""
  has_N = np.zeros(len(vectors_ND), bool)
  for first in range(0, len(vectors_ND) if vectors_ND.shape[1] else 0, _ROWS):
    block_BD = vectors_ND[first : first + _ROWS]
    same_B = (block_BD == block_BD[:, :1]).all(axis=1)
    has_N[first : first + _ROWS] = ~(same_B & (block_BD[:, 0] <= 0))
  return has_N


def _read_flags(path: Path, name: str) -> np.ndarray:
  """A column of ones and zeros as bool [N]."""
  with open(path, encoding="utf-8-sig", newline="") as file:
    lines = csv.DictReader(file)
    if name not in (lines.fieldnames or ()):
      raise UserError(
        f"{path} has no column {name}, so what is missing is not known: export"
        " it again"
      )
    flags = [line[name] for line in lines]
  for row, flag in enumerate(flags):
    if flag not in ("0", "1"):
      raise UserError(f"{path} row {row}: {name} is {flag!r}; expected 0 or 1")
  return np.array(flags) == "1"
