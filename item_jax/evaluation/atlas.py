"""Writes an export as the Parquet file that embedding-atlas shows."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.data.records import Dataset, open_dataset
from item_jax.errors import UserError
from item_jax.evaluation import baselines
from item_jax.evaluation.agreement import check_same_rows
from item_jax.evaluation.items import Export, open_export
from item_jax.evaluation.mixed import Mixed
from item_jax.evaluation.page.pictures import read_small
from item_jax.evaluation.search import search
from item_jax.files import whole_file
from item_jax.registry import import_extra

ATLAS_FILE = "atlas.parquet"
# {option of embedding-atlas: column}.
COLUMNS = {
  "text": "title",
  "image": "image",
  "x": "projection_x",
  "y": "projection_y",
  "neighbors": "neighbors",
}
_NEAR = 10
_IMAGE_SIDE = 160  # pixels of the longer side
_PCA, _TSNE_ROWS = 50, 20_000
_MADE_OF = b"embeddings.npy"  # its SHA-256, in the file's metadata


def write_atlas(
  export: str | os.PathLike | Export,
  data: str | os.PathLike | Dataset,
  *,
  seed: int = 0,
) -> Path:
  """Writes atlas.parquet in an export's folder, a row for each listing.

  Columns: id, product, category, title; image, {bytes, path} of a JPEG of at
  most 160 pixels, null without one; projection_x and projection_y, by t-SNE,
  of more than 20,000 listings by PCA; neighbors, {ids: row numbers, distances:
  1 - cosine} of the ten nearest; hits, how many of those are of the listing's
  product, null where no other listing is.

  Args:
    export: a finished one, of dense vectors; or its folder.
    data: what it was made of: titles and images.
    seed: of the projection.

  Raises:
    UserError: the rows are not those of the data's split; pyarrow is not
      installed.
  """
  pyarrow = _import_pyarrow()
  export = _opened(export)
  if isinstance(export.vectors, Mixed):
    raise UserError(
      f"{export.path} has a sparse part (sparse.npz): expected an export, or a"
      " fusion of dense parts"
    )
  dataset, split = open_dataset(data), export.meta["split"]
  items, (titles,) = baselines.read(dataset, split, baselines.title)
  check_same_rows(
    f"export {export.path}", export.items, f"split {split!r}", items
  )
  vectors_ND = np.asarray(export.vectors)
  near_NK, scores_NK = search(vectors_ND, items.ids, k=_NEAR)
  xy_N2 = project(vectors_ND, seed=seed)
  small = read_small(dataset, split, range(len(titles)), side=_IMAGE_SIDE)
  columns: dict[str, Any] = {
    "id": items.ids,
    "product": items.products,
    "category": items.categories or [""] * len(titles),
    "title": titles,
    "image": _images(pyarrow, small, len(titles)),
    "projection_x": xy_N2[:, 0],
    "projection_y": xy_N2[:, 1],
    "neighbors": _neighbours(pyarrow, near_NK, scores_NK),
    "hits": pyarrow.array(count_hits(items.products, near_NK), pyarrow.int64()),
  }
  table = pyarrow.table(columns).replace_schema_metadata(
    {_MADE_OF: export.meta["files"][_MADE_OF.decode()]}
  )
  path = export.path / ATLAS_FILE
  with whole_file(path) as file:
    pyarrow.parquet.write_table(table, file)
  return path


def find_atlas(export: str | os.PathLike | Export) -> Path:
  """Returns an export's atlas.parquet.

  Raises:
    UserError: there is none, or it is of other embeddings.
  """
  pyarrow = _import_pyarrow()
  export = _opened(export)
  path = export.path / ATLAS_FILE
  again = "`item-jax export --atlas` with the flags of the export writes one"
  if "parts" in export.meta:
    raise UserError(
      f"{export.path} is a fusion: only an export of a run has an {ATLAS_FILE}"
    )
  if not path.is_file():
    raise UserError(f"{export.path} has no {ATLAS_FILE}: {again}")
  made_of = (pyarrow.parquet.read_schema(path).metadata or {}).get(_MADE_OF)
  if (made_of or b"").decode() != export.meta["files"][_MADE_OF.decode()]:
    raise UserError(f"{path} is of other embeddings than its export: {again}")
  return path


def browse(export: str | os.PathLike | Export) -> Any:
  """Returns the notebook widget of embedding-atlas for an export.

  Args:
    export: with atlas.parquet, which `item-jax export --atlas` writes.

  Raises:
    UserError: there is none, or embedding-atlas is not installed.
  """
  path = find_atlas(export)
  widget = _import_atlas("widget").EmbeddingAtlasWidget
  return widget(_import_pyarrow().parquet.read_table(path), **COLUMNS)


def serve(export: str | os.PathLike | Export, *, port: int) -> None:
  """Runs embedding-atlas on an export at 127.0.0.1, until it is interrupted.

  Raises:
    UserError: as of `browse`.
  """
  path, cli = find_atlas(export), _import_atlas("cli")
  flags = [x for name, column in COLUMNS.items() for x in (f"--{name}", column)]
  cli.main(
    [str(path), *flags, "--host=127.0.0.1", f"--port={port}"],
    standalone_mode=False,
  )


def _import_atlas(name: str) -> Any:
  try:
    return importlib.import_module(f"embedding_atlas.{name}")
  except ImportError as error:
    raise UserError(
      f"browsing takes embedding-atlas ({error}): pip install -e '.[browse]' in"
      " item-jax's clone"
    ) from error


def _import_pyarrow() -> Any:
  import_extra("pyarrow.parquet", "Parquet takes pyarrow", "browse")
  return importlib.import_module("pyarrow")


def _opened(export: str | os.PathLike | Export) -> Export:
  return export if isinstance(export, Export) else open_export(export)


def _images(pyarrow, small: dict[int, bytes], rows: int) -> Any:
  return pyarrow.array(
    [
      {"bytes": small[row], "path": f"{row}.jpg"} if row in small else None
      for row in range(rows)
    ],
    pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
  )


def _neighbours(pyarrow, near_NK, scores_NK) -> Any:
  """The column's own form: {"ids": nearest first, "distances"}."""
  return pyarrow.array(
    [
      {"ids": rows_K[rows_K >= 0], "distances": 1 - scores_K[rows_K >= 0]}
      for rows_K, scores_K in zip(near_NK, scores_NK, strict=True)
    ],
    pyarrow.struct(
      {
        "ids": pyarrow.list_(pyarrow.int64()),
        "distances": pyarrow.list_(pyarrow.float64()),
      }
    ),
  )


def count_hits(products: list[str], near_NK: np.ndarray) -> list[int | None]:
  """How many of the near rows are of a row's product; None of one alone."""
  number = {"": 0}
  own_N = np.array([number.setdefault(one, len(number)) for one in products])
  alone_N = (own_N == 0) | (np.bincount(own_N)[own_N] < 2)
  hits_N = ((own_N[near_NK] == own_N[:, None]) & (near_NK >= 0)).sum(1)
  pairs = zip(alone_N.tolist(), hits_N.tolist(), strict=True)
  return [None if alone else hits for alone, hits in pairs]


def project(vectors_ND: np.ndarray, *, seed: int = 0) -> np.ndarray:
  """Lays rows out on a plane, float32 [N, 2]: what is alike lies near."""
  from sklearn.decomposition import PCA
  from sklearn.manifold import TSNE
  from threadpoolctl import threadpool_limits

  rows, dims = vectors_ND.shape
  near = 4 <= rows <= _TSNE_ROWS
  wanted = min(_PCA if near else 2, rows, dims)
  pca = PCA(wanted, svd_solver="randomized", random_state=seed)
  with np.errstate(invalid="ignore"):  # its ratios, of rows that are all alike
    found_NE = pca.fit_transform(vectors_ND)
  if near and found_NE[:, 0].std() > 0:  # t-SNE divides by it
    perplexity = min(30.0, (rows - 1) / 3)
    tsne = TSNE(perplexity=perplexity, random_state=seed)
    # Where other work takes a core, its threads wait for each other: on two
    # shared cores 100 rows took minutes instead of a second.
    with threadpool_limits(1, user_api="openmp"):
      found_NE = tsne.fit_transform(found_NE)
  plane_N2 = np.zeros((rows, 2), np.float32)
  found_NE = found_NE[:, :2]
  plane_N2[:, : found_NE.shape[1]] = found_NE
  return plane_N2
