"""Writes an export as one file, Parquet or safetensors, in blocks of rows."""

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation.items import Export, open_export
from item_jax.evaluation.vectors import Mixed
from item_jax.files import CorruptError, check_folders

FORMATS = ("parquet", "safetensors")
_ROWS = 4096  # written at a time: 12 MB of 768 values
_FLAGS = ("has_image", "has_title")
_TEXTS = ("id", "product", "category", "title")
_MOST_HEADER = 100_000_000  # bytes; safetensors reads no more


def convert(
  export: str | os.PathLike | Export,
  *,
  format: str,
  out: str | os.PathLike,
) -> Path:
  """Writes an export's vectors, with what they are of, as one file.

  parquet: a row for each listing, in the export's order: the columns of
  items.csv (id, product, category and title as text; has_image and has_title
  as bool) and `embedding`, a list of D float32 values. The schema's metadata
  has the export's meta.json under "item_jax".

  safetensors: the tensor `embeddings`, float32 [N, D]. Of the metadata, which
  are texts, `ids` and `products` are lists of JSON, `meta` the meta.json.

  Rows are read and written in blocks: memory does not grow with the vectors.
  The file has its name when it is complete.

  Args:
    export: a folder of `item-jax export`, or opened.
    format: of FORMATS.
    out: the file to write; one that is there is replaced.

  Returns:
    `out`.

  Raises:
    UserError: no such format, an export that is not finished or was altered,
      one with a sparse part, or pyarrow is not installed.
  """
  if format not in FORMATS:
    raise UserError(f"format={format!r}: known are {', '.join(FORMATS)}")
  out = Path(out)
  check_folders(out)
  if out.is_dir():
    raise UserError(f"{out} is a folder; expected the name of a file")
  path = export.path if isinstance(export, Export) else export
  opened = open_export(path)  # its checksums too
  vectors_ND = opened.vectors
  if isinstance(vectors_ND, Mixed):
    raise UserError(
      f"{path} has a sparse part (sparse.npz), which a {format} file of vectors"
      " has no place for: expected an export or a fusion of dense parts"
    )
  write: Callable = {
    "parquet": _write_parquet,
    "safetensors": _write_safetensors,
  }[format]
  part = out.with_name(out.name + ".part")
  try:
    write(opened, vectors_ND, part)
    with part.open("rb") as file:
      os.fsync(file.fileno())
    part.replace(out)
  finally:
    part.unlink(missing_ok=True)
  return out


def _blocks(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
  """Rows in the memory's order, little-endian float32 [B, D]."""
  for first in range(0, len(vectors_ND), _ROWS):
    yield np.ascontiguousarray(vectors_ND[first : first + _ROWS], "<f4")


def _write_safetensors(export: Export, vectors_ND, path: Path) -> None:
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
  with path.open("wb") as file:
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    for block_BD in _blocks(vectors_ND):
      file.write(block_BD.data)


def _text(value) -> str:
  return json.dumps(value, ensure_ascii=False)


def _write_parquet(export: Export, vectors_ND, path: Path) -> None:
  try:
    import pyarrow as pa
    import pyarrow.parquet as pq
  except ImportError as error:
    raise UserError(
      "--format=parquet takes pyarrow: pip install -e '.[parquet]' in"
      " item-jax's clone"
    ) from error
  dims = vectors_ND.shape[1]
  with (export.path / "items.csv").open(encoding="utf-8", newline="") as file:
    lines = csv.DictReader(file)
    names = lines.fieldnames or ()
    columns = [*(n for n in _TEXTS if n in names)]
    flags = [n for n in _FLAGS if n in names]
    schema = pa.schema(
      [
        *((name, pa.string()) for name in columns),
        *((name, pa.bool_()) for name in flags),
        ("embedding", pa.list_(pa.float32(), dims)),
      ],
      metadata={"item_jax": _text(export.meta)},
    )
    # Vectors have no value twice: a dictionary of them would only take time.
    how: Any = {"use_dictionary": columns}  # its types know no list
    with pq.ParquetWriter(path, schema, **how) as writer:
      for block_BD in _blocks(vectors_ND):
        rows = list(itertools.islice(lines, len(block_BD)))
        arrays = [
          *(pa.array([row[name] for row in rows]) for name in columns),
          *(
            pa.array([_flag(row[name], name, export) for row in rows])
            for name in flags
          ),
          pa.FixedSizeListArray.from_arrays(pa.array(block_BD.ravel()), dims),
        ]
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _flag(text: str, name: str, export: Export) -> bool:
  if text not in ("0", "1"):
    raise CorruptError(
      f"{export.path / 'items.csv'}: {name} is {text!r}; expected 0 or 1"
    )
  return text == "1"
