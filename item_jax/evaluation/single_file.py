"""Writes an export as Parquet, safetensors or Lance, in blocks of rows."""

import contextlib
import csv
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.items import Export, open_export
from item_jax.evaluation.vectors import Mixed
from item_jax.files import CorruptError, check_folders, whole_file
from item_jax.new_folder import new_folder
from item_jax.registry import import_extra

FORMATS = ("parquet", "safetensors", "lance")
_ROWS = 4096  # written at a time: 12 MB of 768 values
_FLAGS = ("has_image", "has_title")
_TEXTS = ("id", "product", "category", "title")
_MOST_HEADER = 100_000_000  # bytes; safetensors reads no more


def convert(
  export: str | os.PathLike | Export,
  *,
  format: str,
  out: str | os.PathLike,
  overwrite: bool = False,
) -> Path:
  """Writes an export's vectors, with what they are of, in another format.

  parquet: a row for each listing, in the export's order: the columns of
  items.csv (id, product, category and title as text; has_image and has_title
  as bool) and `embedding`, a list of D float32 values. The schema's metadata
  has the export's meta.json under "item_jax".

  lance: the same rows as a Lance dataset, a folder.

  safetensors: the tensor `embeddings`, float32 [N, D]. Of the metadata, which
  are texts, `ids` and `products` are lists of JSON, `meta` the meta.json.

  Rows are read and written in blocks: memory does not grow with the vectors.
  The file (or folder) has its name when it is complete.

  Args:
    export: a folder of `item-jax export`, or opened.
    format: of FORMATS.
    out: the file to write, outside the export.
    overwrite: whether a file that is there is replaced. A folder is not.

  Returns:
    `out`.

  Raises:
    UserError: no such format, something stands at `out`, an export that is
      not finished or was altered, one with a sparse part, or pyarrow or
      pylance is not installed.
  """
  if format not in FORMATS:
    raise UserError(f"format={format!r}: known are {', '.join(FORMATS)}")
  out = Path(out)
  check_folders(out)
  _check_room(out, format, overwrite)
  path = export.path if isinstance(export, Export) else export
  if out.parent.resolve() == Path(path).resolve():
    raise UserError(f"{out} is in the export itself: expected another folder")
  opened = open_export(path)  # its checksums too
  vectors_ND = opened.vectors
  if isinstance(vectors_ND, Mixed):
    raise UserError(
      f"{path} has a sparse part (sparse.npz), which a {format} file of vectors"
      " has no place for: expected an export or a fusion of dense parts"
    )
  if format == "lance":
    with new_folder(
      out, overwrite=False, replaceable=lambda folder: False
    ) as folder:
      _write_lance(opened, vectors_ND, folder)
    return out
  write = _write_parquet if format == "parquet" else _write_safetensors
  with whole_file(out) as file:
    _check_room(out, format, overwrite)  # now that nobody else writes it
    write(opened, vectors_ND, file)
  return out


def _check_room(out: Path, format: str, overwrite: bool) -> None:
  folder = format == "lance"
  if out.exists() and (folder or not overwrite):
    way = "no folder replaces it" if folder else "--overwrite replaces it"
    raise UserError(f"{out} is a file already; {way}")


def _blocks(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
  """Rows in the memory's order, little-endian float32 [B, D]."""
  for first in range(0, len(vectors_ND), _ROWS):
    yield np.ascontiguousarray(vectors_ND[first : first + _ROWS], "<f4")


def _write_safetensors(export: Export, vectors_ND, file: IO[bytes]) -> None:
  """Writes the format by hand: its own library takes whole tensors only.

  Eight bytes with the header's length, the header in JSON, the values.
  """
  size = 4 * vectors_ND.shape[0] * vectors_ND.shape[1]
  header = {
    "__metadata__": {
      "format": "np",
      "ids": _text(export.items.ids),
      "products": _text(export.items.products),
      "meta": _text(export.meta),
    },
    "embeddings": {
      "dtype": "F32",
      "shape": list(vectors_ND.shape),
      "data_offsets": [0, size],
    },
  }
  encoded = _text(header).encode()
  encoded += b" " * (-len(encoded) % 8)  # values begin at a multiple of 8
  if len(encoded) > _MOST_HEADER:
    raise UserError(
      f"the ids and products of {len(vectors_ND):,} rows take"
      f" {len(encoded):,} bytes of a safetensors header, which may have"
      f" {_MOST_HEADER:,}: take --format=parquet"
    )
  file.write(len(encoded).to_bytes(8, "little"))
  file.write(encoded)
  for block_BD in _blocks(vectors_ND):
    file.write(block_BD.data)


def _text(value) -> str:
  return json.dumps(value, ensure_ascii=False)


def _write_parquet(export: Export, vectors_ND, file: IO[bytes]) -> None:
  pa = _import("pyarrow", "parquet")
  pq = _import("pyarrow.parquet", "parquet")
  with _open_rows(pa, export, vectors_ND) as (schema, batches):
    # Vectors have no value twice: a dictionary of them would only take time.
    texts = [field.name for field in schema if field.type == pa.string()]
    with pq.ParquetWriter(file, schema, use_dictionary=texts) as writer:
      for batch in batches:
        writer.write_batch(batch)


def _write_lance(export: Export, vectors_ND, folder: Path) -> None:
  pa, lance = _import("pyarrow", "lance"), _import("lance", "lance")
  with _open_rows(pa, export, vectors_ND) as (schema, batches):
    lance.write_dataset(batches, folder, schema=schema)


def _import(module: str, extra: str) -> Any:
  return import_extra(
    module, f"--format={extra} takes {module.split('.')[0]}", extra
  )


@contextlib.contextmanager
def _open_rows(pa, export: Export, vectors_ND) -> Iterator[tuple]:
  """The schema of an export's rows, and an iterator over their batches."""
  dims = vectors_ND.shape[1]
  with (export.path / "items.csv").open(encoding="utf-8", newline="") as file:
    lines = csv.DictReader(file)
    names = lines.fieldnames or ()
    texts = [name for name in _TEXTS if name in names]
    flags = [name for name in _FLAGS if name in names]
    schema = pa.schema(
      [
        *((name, pa.string()) for name in texts),
        *((name, pa.bool_()) for name in flags),
        ("embedding", pa.list_(pa.float32(), dims)),
      ],
      metadata={"item_jax": _text(export.meta)},
    )

    def batch(block_BD):
      rows = list(itertools.islice(lines, len(block_BD)))
      arrays = [
        *(pa.array([row[name] for row in rows]) for name in texts),
        *(
          pa.array([_flag(row[name], name, export) for row in rows])
          for name in flags
        ),
        pa.FixedSizeListArray.from_arrays(pa.array(block_BD.ravel()), dims),
      ]
      return pa.RecordBatch.from_arrays(arrays, schema=schema)

    yield schema, map(batch, _blocks(vectors_ND))


def _flag(text: str, name: str, export: Export) -> bool:
  if text not in ("0", "1"):
    raise CorruptError(
      f"{export.path / 'items.csv'}: {name} is {text!r}; expected 0 or 1"
    )
  return text == "1"
