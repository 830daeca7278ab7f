"""Late fusion: vectors of photo and title in, one vector of both out.

[sqrt(a) u; sqrt(1 - a) v] of unit vectors u and v, so that the cosine of two
listings is a cos(u, u') + (1 - a) cos(v, v'). paper: not stated how its photo
and title baselines were joined; ours, because it adds no training.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.comparison import files
from item_jax.errors import UserError
from item_jax.evaluation import retrieval
from item_jax.evaluation.items import Items, open_export

SHARES = tuple(a / 10 for a in range(11))  # of the photo, tried on validation
EVEN = 0.5


def join(
  photo_ND: np.ndarray, title_NE: np.ndarray, share: float
) -> np.ndarray:
  """float32 [N, D+E+1] of unit length.

  A row of zeros stands for a missing side. Where nothing is left the last
  value is 1, elsewhere 0: such a row is like its own kind and nothing else.
  """
  photo_ND = unit(photo_ND) * np.sqrt(share)
  title_NE = unit(title_NE) * np.sqrt(1 - share)
  joined = np.concatenate([photo_ND, title_NE], axis=1)
  blank_N1 = ~joined.any(axis=1, keepdims=True)
  joined = np.concatenate([joined, blank_N1], axis=1)
  return unit(joined).astype(np.float32)


def unit(vectors_ND: np.ndarray) -> np.ndarray:
  """float64 rows of unit length; a row of zeros stays one."""
  vectors_ND = np.asarray(vectors_ND, np.float64)
  length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  return vectors_ND / np.where(length_N1 > 0, length_N1, 1)


def open_sides(
  folders: Sequence[Path], has_photo_N: np.ndarray, has_title_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Items]:
  """Photo and title vectors of exports of "both", a missing side as zeros.

  Args:
    folders: of a photo's model and a title's; or one of two towers, whose
      vectors are the photo's half and the title's, as `models.clip` joins
      them.
  """
  opened = [open_export(folder) for folder in folders]
  items = opened[0][1]
  for folder, (_, other) in zip(folders, opened, strict=True):
    if other.ids != items.ids:
      raise UserError(f"{folder} and {folders[0]} are not of the same rows")
  if len(opened) == 1:
    vectors_ND = opened[0][0]
    half, odd = divmod(vectors_ND.shape[1], 2)
    if odd:
      raise UserError(
        f"{folders[0]} holds vectors of {vectors_ND.shape[1]} values: no two"
        " halves"
      )
    photo_ND, title_NE = vectors_ND[:, :half], vectors_ND[:, half:]
  else:
    photo_ND, title_NE = opened[0][0], opened[1][0]
  return (
    np.where(has_photo_N[:, None], photo_ND, 0),
    np.where(has_title_N[:, None], title_NE, 0),
    items,
  )


def choose_share(photo_ND, title_NE, items: Items) -> float:
  """The photo's share with the best MAP@10; of equals the most even."""
  scores = {
    share: retrieval.score(
      join(photo_ND, title_NE, share), items, bootstrap=0
    ).summary["map@10"]
    for share in SHARES
  }
  return min(scores, key=lambda a: (-scores[a], abs(a - EVEN), a))


def write_export(out: Path, vectors_ND: np.ndarray, like: Path, **said) -> None:
  """Writes vectors as an export folder of the rows of another one."""
  if (out / "meta.json").is_file():
    return
  shutil.rmtree(out, ignore_errors=True)
  out.mkdir(parents=True)
  np.save(out / "embeddings.npy", vectors_ND, allow_pickle=False)
  shutil.copyfile(like / "items.csv", out / "items.csv")
  before = json.loads((like / "meta.json").read_text("utf-8"))
  kept = {name: before[name] for name in ("data", "split") if name in before}
  files.write_json(
    out / "meta.json",
    {
      **kept,
      **said,
      "rows": len(vectors_ND),
      "dims": vectors_ND.shape[1],
      "sha256": files.sha256(out / "embeddings.npy"),
    },
  )
