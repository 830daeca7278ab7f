"""Finds the listings of an export nearest to an image, a title, or both."""

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from item_jax.data import images as images_lib
from item_jax.data.records import Dataset, Record
from item_jax.errors import UserError
from item_jax.evaluation import baselines
from item_jax.evaluation.agreement import check_same_rows
from item_jax.evaluation.items import Export, open_export
from item_jax.evaluation.page.pictures import read_small
from item_jax.inference.disturb import open_reader
from item_jax.inference.embedder import Embedder, load

_IMAGE_SIDE = 240  # pixels of the longer side
_KEPT = 4  # images and titles whose vectors are kept while the slider moves


class Query:
  """An export, its listings, and the model that embedded them.

  export: of dense vectors, N rows. embedder: in its space. dataset: where its
  images are. shown: N pairs (title, whether there is an image).
  """

  def __init__(
    self,
    export: Export,
    embedder: Embedder,
    dataset: Dataset,
    shown: Sequence[tuple[str, bool]],
  ):
    self.export = export
    self.embedder = embedder
    self.dataset = dataset
    self.shown = shown
    self._null_D = embedder.embed(titles=[""])[0]  # compiles, too
    self._lock = threading.Lock()  # a server has many threads, a CPU few cores
    self._embed = functools.lru_cache(_KEPT)(self._embed_side)

  @property
  def split(self) -> str:
    return self.export.meta["split"]

  def find(
    self,
    image: bytes = b"",
    title: str = "",
    *,
    image_weight: float = 0.5,
    k: int = 20,
  ) -> list[dict[str, Any]]:
    """Finds the k listings with the highest score, best first.

    The image and the title are embedded each alone. Of both, the score is
    `image_weight` times the cosine of the first plus the rest times that of
    the second; of one it is its cosine. Of equal scores the smaller id comes
    first.

    Args:
      image: an image file's bytes; b"" for none.
      title: "" for none.

    Returns:
      Of each row, id, product, category, title, has_image, score, and cosines
      by side.

    Raises:
      UserError: neither is given, the image is none, the weight is no fraction,
        or the model does not see what is given.
    """
    sides = {"image": image, "title": title.strip()}
    sides = {side: value for side, value in sides.items() if value}
    if not sides:
      raise UserError("an image, a title or both are needed; neither was given")
    if not 0 <= image_weight <= 1:
      raise UserError(f"image_weight={image_weight}: expected 0 to 1")
    weights = {"image": image_weight, "title": 1 - image_weight}
    if len(sides) == 1:
      weights = dict.fromkeys(sides, 1.0)
    with self._lock:
      queries = {
        side: self._embed(side, value) for side, value in sides.items()
      }
      cosines = {
        # Row by row: a matrix product's last bits depend on a row's place.
        side: np.vecdot(np.asarray(self.export.vectors), q_D)
        for side, q_D in queries.items()
      }
    score_N = np.zeros(len(self.shown), np.float32)
    for side, cosine_N in cosines.items():
      score_N += weights[side] * cosine_N
    if len(score_N) > 2 and not np.ptp(score_N):
      raise UserError(
        f"all listings of {self.export.path} have the score {score_N[0]:.3f},"
        f" by {' and '.join(sides)}: only their ids would rank them. An export"
        " of both sides can be asked by either"
      )
    return [
      self._line(row)
      | {
        "score": float(score_N[row]),
        "cosines": {side: float(x_N[row]) for side, x_N in cosines.items()},
      }
      for row in best(score_N, self.export.items.ids, k)
    ]

  def read_image(self, row: int) -> bytes | None:
    """Returns a listing's image as a small JPEG; None without one."""
    if not 0 <= row < len(self.shown):
      return None
    small = read_small(self.dataset, self.split, [row], side=_IMAGE_SIDE)
    return small.get(row)

  def _embed_side(self, side: str, value: Any) -> np.ndarray:
    if side == "image":
      try:
        images_lib.store_jpeg(value)
      except images_lib.BadImage as error:
        raise UserError(
          f"the image of {len(value):,} bytes: {error}"
        ) from error
      vector_D = self.embedder.embed(images=[value])[0]
    else:
      tokenizer = self.embedder.tokenizer
      if not {*tokenizer.tokens([value])[0]} - {tokenizer.unk}:
        raise UserError(f"the title {value!r} has no token of the vocabulary")
      vector_D = self.embedder.embed(titles=[value])[0]
    if np.allclose(vector_D, self._null_D, atol=1e-6):
      name = self.embedder.config.model.name
      raise UserError(f"the network model.name={name!r} does not see {side}s")
    return vector_D

  def _line(self, row: int) -> dict[str, Any]:
    items, (title, has_image) = self.export.items, self.shown[row]
    return {
      "row": row,
      "id": items.ids[row],
      "product": items.products[row],
      "category": items.category(row),
      "title": title,
      "has_image": has_image,
    }


def open_query(
  workdir: str | os.PathLike,
  export: str | os.PathLike | Export,
  *,
  data: str | os.PathLike | Dataset | None = None,
) -> Query:
  """Opens an export to be asked by the model that made it.

  Args:
    workdir: of the run.
    export: a finished one of the run; its checkpoint and space are taken.
    data: what was exported, or its folder; None for the run's own.

  Raises:
    UserError: the export is of another run, or its rows are not those of the
      data's split.
  """
  export = export if isinstance(export, Export) else open_export(export)
  embedder = load(workdir, like=export.path)
  split = export.meta["split"]
  dataset = open_reader(embedder, workdir, data, split, 1).dataset
  items, (shown,) = baselines.read(dataset, split, _shown)
  check_same_rows(
    f"export {export.path}", export.items, f"split {split!r}", items
  )
  return Query(export, embedder, dataset, shown)


def _shown(record: Record) -> tuple[str, bool]:
  return record.title, bool(record.image)


def best(score_N: np.ndarray, ids: Sequence[str], k: int) -> list[int]:
  """Returns rows of the k highest scores; of equal ones by ascending id."""
  k = min(k, len(score_N))
  least = np.partition(score_N, -k)[-k]
  rows = np.flatnonzero(score_N >= least).tolist()
  return sorted(rows, key=lambda row: (-score_N[row], ids[row]))[:k]
