"""Fuses vectors of images with vectors of titles, after training.

[sqrt(a) u; sqrt(1 - a) v] of unit vectors u and v, so that the cosine of two
listings is a cos(u, u') + (1 - a) cos(v, v'), where both have both.
paper: not stated how its image and title baselines were joined; ours, because
it adds no training, and averages scores instead of unrelated coordinates.
"""

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import (
  EXPORTED,
  Export,
  Items,
  check_apart,
  check_one_system,
  check_same_rows,
  open_export,
)
from item_jax.evaluation.results import Result
from item_jax.files import read_checksummed, sha256, write_checksummed
from item_jax.new_folder import new_folder

EVEN = 0.5
WEIGHTS = tuple(tenth / 10 for tenth in range(11))  # tried on validation
FORMAT = 1  # of the folder
_ROWS = 2048  # joined at a time, in float64
# What a fusion's meta.json keeps of the two exports.
_KEPT = ("workdir", "step", "checkpoint", "modality", "dims", "files")


@dataclass(frozen=True, eq=False, repr=False)
class Fusion(Result):
  """Vectors of image and title together.

  vectors: float32 [N, D], rows of unit length. items: what the rows are.
  image_weight: of the image, the title has the rest. tried: {weight: MAP@10 on
  validation} where it was tuned. out: the folder that it was written to.
  """

  vectors: np.ndarray
  items: Items
  image_weight: float
  tried: dict[float, float] = field(default_factory=dict)
  out: Path | None = None

  def to_dict(self) -> dict[str, Any]:
    """Returns all but the vectors and items."""
    return {
      "rows": len(self.vectors),
      "dims": self.vectors.shape[1],
      "image_weight": self.image_weight,
      "tried": self.tried,
      "out": None if self.out is None else str(self.out),
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each weight that was tried, or for the one taken."""
    if not self.tried:
      return [{"image_weight": self.image_weight}]
    return [
      {"image_weight": weight, "map@10": score}
      for weight, score in self.tried.items()
    ]

  def __str__(self) -> str:
    lines = [
      f"image weight {weight:.1f}: MAP@10 {score:.4f} on validation"
      for weight, score in self.tried.items()
    ]
    lines.append(
      f"{self.out or 'fusion'}: {len(self.vectors)} rows of"
      f" {self.vectors.shape[1]}, image weight {self.image_weight:g}"
    )
    return "\n".join(lines)


def fuse(
  image: str | os.PathLike | Export,
  title: str | os.PathLike | Export,
  *,
  image_weight: float = EVEN,
  tune_on: Sequence[str | os.PathLike | Export] | None = None,
  out: str | os.PathLike | None = None,
  overwrite: bool = False,
) -> Fusion:
  """Fuses two exports of the same rows.

  Args:
    image, title: exports of an image's and of a title's model.
    image_weight: a, from 0 to 1, where nothing is tuned; the title has 1 - a.
    tune_on: exports of validation, image's and title's: takes the weight of
      `WEIGHTS` with the best MAP@10 there.
    out: folder to write as an export: embeddings.npy, items.csv and meta.json.
    overwrite: whether it may replace another fusion.

  Raises:
    UserError: exports of different rows; validation of other models, or with a
      listing in common.
  """
  image, title = _folder(image), _folder(title)
  parts = open_parts(image, title)
  with contextlib.ExitStack() as stack:
    folder = None
    if out is not None:  # refused now, not after the work
      folder = stack.enter_context(
        new_folder(out, overwrite=overwrite, replaceable=_is_fusion)
      )
    tried: dict[float, float] = {}
    if tune_on:
      val_image, val_title = map(_folder, tune_on)
      val = open_parts(val_image, val_title)
      check_one_system([image, val_image])
      check_one_system([title, val_title])
      check_apart([(image, parts.items), (val_image, val.items)])
      tried = try_weights(*val)
      image_weight = best_weight(tried)
    fused_NF = fuse_vectors(parts.image_ND, parts.title_NE, image_weight)
    if folder is not None:
      _write(folder.path, fused_NF, image, title, image_weight)
      folder.commit()
  written = None if out is None else Path(out)
  return Fusion(fused_NF, parts.items, image_weight, tried, written)


def fuse_vectors(
  image_ND: np.ndarray, title_NE: np.ndarray, image_weight: float = EVEN
) -> np.ndarray:
  """Joins the vectors of N images with those of their titles.

  Args:
    image_ND: of any length; a row of zeros where there is no image.
    title_NE: likewise.
    image_weight: a, from 0 to 1.

  Returns:
    float32 [N, D + E], rows of unit length. Where one is missing it stays
    zero and the other counts fully; where both are all values are the same,
    below zero.

  Raises:
    UserError: another weight, or different numbers of rows.
  """
  if not 0 <= image_weight <= 1:
    raise UserError(f"the image's weight is {image_weight}; expected 0 to 1")
  if len(image_ND) != len(title_NE):
    raise UserError(f"{len(image_ND)} images but {len(title_NE)} titles")
  width = image_ND.shape[1] + title_NE.shape[1]
  fused_NF = np.empty((len(image_ND), width), np.float32)
  for first in range(0, len(image_ND), _ROWS):
    rows = slice(first, first + _ROWS)
    joined_BF = np.concatenate(
      [
        np.sqrt(image_weight) * _unit(image_ND[rows]),
        np.sqrt(1 - image_weight) * _unit(title_NE[rows]),
      ],
      axis=1,
    )
    # As an export's null embedding: far from what is never negative.
    joined_BF[~joined_BF.any(axis=1)] = -1
    fused_NF[rows] = _unit(joined_BF)
  return fused_NF


def best_weight(scores: dict[float, float]) -> float:
  """Of equal scores the weight nearest to a half, and then the smaller."""
  return min(scores, key=lambda a: (-scores[a], abs(a - EVEN), a))


def try_weights(
  image_ND: np.ndarray, title_NE: np.ndarray, items: Items
) -> dict[float, float]:
  """Measures MAP@10 of the same-product search for each of `WEIGHTS`."""
  return {
    weight: retrieval.score(
      fuse_vectors(image_ND, title_NE, weight), items, bootstrap=0
    ).summary["map@10"]
    for weight in WEIGHTS
  }


class Parts(NamedTuple):
  """The vectors of N images and of their titles; zeros where one is missing."""

  image_ND: np.ndarray
  title_NE: np.ndarray
  items: Items


def open_parts(image: Path, title: Path) -> Parts:
  """Opens the export of an image's model and that of a title's.

  An export holds the null embedding where an image or title is missing;
  items.csv says where (has_image, has_title), and there the vector becomes
  zero.

  Raises:
    UserError: they are not of the same rows, or don't say what is missing.
  """
  opened = []
  for folder, name, other in (
    (image, "image", "title"),
    (title, "title", "image"),
  ):
    export = open_export(folder)
    if export.meta.get("modality") == other:
      raise UserError(
        f"{folder} is an export of the {other} only; expected the {name}'s"
      )
    vectors_ND = export.vectors
    has_N = _read_flags(Path(folder) / "items.csv", f"has_{name}")
    if not has_N.all():  # or it stays on disk
      vectors_ND = np.where(has_N[:, None], vectors_ND, 0)
    opened.append((vectors_ND, export.items))
  (image_ND, items), (title_NE, other_items) = opened
  check_same_rows(str(image), items, str(title), other_items)
  return Parts(image_ND, title_NE, items)


def _folder(export: str | os.PathLike | Export) -> Path:
  return export.path if isinstance(export, Export) else Path(export)


def _unit(vectors_ND) -> np.ndarray:
  """float64 rows of unit length; a row of zeros stays one."""
  vectors_ND = np.asarray(vectors_ND, np.float64)
  length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  return vectors_ND / np.where(length_N1 > 0, length_N1, 1)


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


def _meta(folder: Path) -> dict:
  return read_checksummed(folder / "meta.json")


def _is_fusion(folder: Path) -> bool:
  path = folder / "meta.json"
  return path.is_file() and "share" in _meta(folder)


def _write(
  folder: Path, fused_NF, image: Path, title: Path, image_weight
) -> None:
  """Fills an export folder; meta.json last, as every export has it."""
  np.save(folder / "embeddings.npy", fused_NF, allow_pickle=False)
  shutil.copyfile(image / "items.csv", folder / "items.csv")
  metas = {"image": _meta(image), "title": _meta(title)}
  parts = {
    modality: {name: meta.get(name) for name in _KEPT}
    for modality, meta in metas.items()
  }
  # One system has one name, whatever the split: both checkpoints, the weight.
  named = [[part["checkpoint"], part["modality"]] for part in parts.values()]
  system = json.dumps([*named, image_weight])
  meta = {
    "format": FORMAT,
    "rows": len(fused_NF),
    "dims": fused_NF.shape[1],
    "dtype": "float32",
    "modality": "both",
    "share": image_weight,
    "checkpoint": hashlib.sha256(system.encode()).hexdigest(),
    "data": metas["image"].get("data"),
    "split": metas["image"].get("split"),
    "parts": parts,
    "files": {name: sha256(folder / name) for name in EXPORTED},
  }
  write_checksummed(folder / "meta.json", meta)
