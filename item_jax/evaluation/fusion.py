"""Late fusion: vectors of photos and of titles in, one vector of both out.

[sqrt(a) u; sqrt(1 - a) v] of unit vectors u and v, so that the cosine of two
listings is a cos(u, u') + (1 - a) cos(v, v'), where neither lacks a side.
paper: not stated how its photo and title baselines were joined; ours, because
it adds no training, and averages scores instead of unrelated coordinates.
"""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import (
  EXPORTED,
  Items,
  check_apart,
  check_one_system,
  check_same_rows,
  open_export,
)
from item_jax.files import read_checksummed, sha256, write_checksummed
from item_jax.new_folder import new_folder

EVEN = 0.5
SHARES = tuple(tenth / 10 for tenth in range(11))  # tried on validation
FORMAT = 1  # of the folder
_ROWS = 2048  # joined at a time, in float64
# What a fusion remembers of the two it was made of.
_KEPT = ("workdir", "step", "checkpoint", "modality", "dims", "files")


def fuse(u_ND: np.ndarray, v_NE: np.ndarray, share: float) -> np.ndarray:
  """Joins the vectors of N photos with those of their titles.

  Args:
    u_ND: of the photos, of any length; a row of zeros where there is none.
    v_NE: of the titles, likewise.
    share: a, the photo's, from 0 to 1.

  Returns:
    float32 [N, D + E], rows of unit length. A missing side stays zero, the
    other then counts alone; where nothing is left all values are the same,
    below zero.

  Raises:
    UserError: another share, or different numbers of rows.
  """
  if not 0 <= share <= 1:
    raise UserError(f"the photo's share is {share}; expected 0 to 1")
  if len(u_ND) != len(v_NE):
    raise UserError(f"{len(u_ND)} photos but {len(v_NE)} titles")
  fused_NF = np.empty((len(u_ND), u_ND.shape[1] + v_NE.shape[1]), np.float32)
  for first in range(0, len(u_ND), _ROWS):
    rows = slice(first, first + _ROWS)
    joined_BF = np.concatenate(
      [
        np.sqrt(share) * _unit(u_ND[rows]),
        np.sqrt(1 - share) * _unit(v_NE[rows]),
      ],
      axis=1,
    )
    # As an export's embedding of nothing: far from what is never negative.
    joined_BF[~joined_BF.any(axis=1)] = -1
    fused_NF[rows] = _unit(joined_BF)
  return fused_NF


def best_share(scores: dict[float, float]) -> float:
  """Of equal scores the share nearest to a half, and then the smaller."""
  return min(scores, key=lambda a: (-scores[a], abs(a - EVEN), a))


def try_shares(
  u_ND: np.ndarray, v_NE: np.ndarray, items: Items
) -> dict[float, float]:
  """MAP@10 of the same-product search for each of `SHARES`."""
  return {
    share: retrieval.score(fuse(u_ND, v_NE, share), items, bootstrap=0).summary[
      "map@10"
    ]
    for share in SHARES
  }


class Sides(NamedTuple):
  """The same N rows, photo and title; a missing side is a row of zeros."""

  u_ND: np.ndarray
  v_NE: np.ndarray
  items: Items


def open_sides(image: Path, title: Path) -> Sides:
  """Opens the export of a photo's model and that of a title's.

  An export puts the embedding of nothing where a side is missing; items.csv
  says where (has_image, has_title), and there the vector becomes zero.

  Raises:
    UserError: they are not of the same rows, or don't say what is missing.
  """
  opened = []
  for folder, side, other in (
    (image, "image", "title"),
    (title, "title", "image"),
  ):
    vectors_ND, items = open_export(folder)
    said = read_checksummed(Path(folder) / "meta.json").get("modality")
    if said == other:
      raise UserError(
        f"{folder} is an export of the {other} alone; expected the {side}'s"
      )
    has_N = _read_flags(Path(folder) / "items.csv", f"has_{side}")
    if not has_N.all():  # or it stays on disk
      vectors_ND = np.where(has_N[:, None], vectors_ND, 0)
    opened.append((vectors_ND, items))
  (u_ND, items), (v_NE, other) = opened
  check_same_rows(str(image), items, str(title), other)
  return Sides(u_ND, v_NE, items)


def fuse_exports(
  image: Path,
  title: Path,
  *,
  out: Path,
  share: float = EVEN,
  tune_on: tuple[Path, Path] | None = None,
  overwrite: bool = False,
) -> float:
  """Writes the fusion of two exports as an export; returns the photo's share.

  Args:
    image, title: export folders of the same rows.
    out: folder to write: embeddings.npy, items.csv and meta.json.
    share: of the photo, where nothing is tuned.
    tune_on: exports of validation, photo's and title's, to choose it by.

  Raises:
    UserError: also where those are of other systems, or share listings.
  """
  sides, scores = open_sides(image, title), {}
  with new_folder(out, overwrite=overwrite, replaceable=_is_fusion) as draft:
    if tune_on:
      val = open_sides(*tune_on)
      for ours, theirs in zip((image, title), tune_on, strict=True):
        check_one_system([ours, theirs])
      check_apart([(image, sides.items), (tune_on[0], val.items)])
      scores = try_shares(*val)
      share = best_share(scores)
    fused_NF = fuse(sides.u_ND, sides.v_NE, share)
    _write(draft.path, fused_NF, Path(image), Path(title), share)
    draft.commit()
  for tried, score in scores.items():
    print(f"photo's share {tried:.1f}: MAP@10 {score:.4f} on validation")
  print(f"{out}: {len(fused_NF)} rows of {fused_NF.shape[1]}, share {share:g}")
  return share


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
    said = [line[name] for line in lines]
  for row, flag in enumerate(said):
    if flag not in ("0", "1"):
      raise UserError(f"{path} row {row}: {name} is {flag!r}; expected 0 or 1")
  return np.array(said) == "1"


def _meta(folder: Path) -> dict:
  return read_checksummed(folder / "meta.json")


def _is_fusion(folder: Path) -> bool:
  path = folder / "meta.json"
  return path.is_file() and "share" in _meta(folder)


def _write(folder: Path, fused_NF, image: Path, title: Path, share) -> None:
  """Fills an export folder; meta.json last, as every export has it."""
  np.save(folder / "embeddings.npy", fused_NF, allow_pickle=False)
  shutil.copyfile(image / "items.csv", folder / "items.csv")
  metas = {"image": _meta(image), "title": _meta(title)}
  parts = {
    side: {name: meta.get(name) for name in _KEPT}
    for side, meta in metas.items()
  }
  # One system has one name, whatever the split: both checkpoints, the share.
  named = [[part["checkpoint"], part["modality"]] for part in parts.values()]
  system = json.dumps([*named, share])
  meta = {
    "format": FORMAT,
    "rows": len(fused_NF),
    "dims": fused_NF.shape[1],
    "dtype": "float32",
    "modality": "both",
    "share": share,
    "checkpoint": hashlib.sha256(system.encode()).hexdigest(),
    "data": metas["image"].get("data"),
    "split": metas["image"].get("split"),
    "parts": parts,
    "files": {name: sha256(folder / name) for name in EXPORTED},
  }
  write_checksummed(folder / "meta.json", meta)
