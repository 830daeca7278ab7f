"""Writes fusions as folders that open as exports; reads what one has chosen."""

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from item_jax.errors import UserError
from item_jax.evaluation import transform
from item_jax.evaluation.items import EXPORTED, open_export
from item_jax.evaluation.mixed import SPARSE, WORDS, write_mixed
from item_jax.evaluation.sources import Source
from item_jax.evaluation.transform import Transform
from item_jax.evaluation.vectors import Mixed
from item_jax.files import read_checksummed, sha256, write_checksummed

FORMAT = 1  # of the folder
SIDES = ("image", "title")  # the names of two exports
# What a fusion's meta.json keeps of the exports it is made of.
_KEPT = ("workdir", "step", "checkpoint", "modality", "dims", "files")
_TRANSFORM = "transform-{}.npz"


def is_fusion(folder: Path) -> bool:
  """Whether a folder was written by `write`."""
  path = folder / "meta.json"
  return path.is_file() and "parts" in read_checksummed(path)


def name_parts(
  parts: Sequence[Source], transforms: Sequence[Transform]
) -> tuple[str, ...]:
  """Names parts: image and title of two exports taken as they are."""
  plain = all(
    part.export is not None and not isinstance(part.vectors, Mixed)
    for part in parts
  )
  if plain and len(parts) == 2 and all(t.kind == "none" for t in transforms):
    return SIDES
  return tuple(part.name for part in parts)


def write(
  folder: Path,
  fused: np.ndarray | Mixed,
  parts: Sequence[Source],
  weights: Sequence[float],
  transforms: Sequence[Transform],
) -> None:
  """Fills an export folder; meta.json last, as every export has it."""
  if isinstance(fused, Mixed):
    write_mixed(folder, fused)
    dims = fused.dense_ND.shape[1]
  else:
    np.save(folder / EXPORTED[0], fused, allow_pickle=False)
    dims = fused.shape[1]
  _write_items(folder / EXPORTED[1], parts[0])
  metas = [part.export.meta if part.export else part.system for part in parts]
  kept = [{name: meta.get(name) for name in _KEPT} for meta in metas]
  names = name_parts(parts, transforms)
  made = [
    transform.save(folder / _TRANSFORM.format(number))
    for number, transform in enumerate(transforms, 1)
    if names != SIDES
  ]
  # One system has one name, whatever the split: the checkpoints, the weights.
  named = [[part["checkpoint"], part["modality"]] for part in kept]
  system = [*named, weights[0]] if names == SIDES else [*named, *weights, *made]
  matrices = [_TRANSFORM.format(number) for number, _ in enumerate(made, 1)]
  files = [*EXPORTED, SPARSE, WORDS, *matrices]
  meta = {
    "format": FORMAT,
    "rows": len(fused),
    "dims": dims,
    "dtype": "float32",
    "modality": "both",
    "checkpoint": hashlib.sha256(json.dumps(system).encode()).hexdigest(),
    "data": metas[0].get("data"),
    "split": metas[0].get("split"),
    "parts": dict(zip(names, kept, strict=True)),
    "files": {
      name: sha256(folder / name) for name in files if (folder / name).exists()
    },
  }
  if len(parts) == 2:
    meta["share"] = weights[0]
  if names != SIDES:
    meta["parts"] = [
      {"name": name, **part} for name, part in zip(names, kept, strict=True)
    ]
    meta |= {"weights": list(weights), "transforms": made}
  write_checksummed(folder / "meta.json", meta)


def read_choice(
  folder: Path, parts: Sequence[Source]
) -> tuple[tuple[float, ...], list[Transform]]:
  """Reads the weights and transforms of another fusion of the same systems.

  Raises:
    UserError: the folder is no fusion, a damaged one, or one of other systems.
  """
  if not is_fusion(folder):
    raise UserError(f"{folder} is no fusion: --like (like=) takes one's folder")
  meta = open_export(folder).meta
  held = list(
    meta["parts"].values() if isinstance(meta["parts"], dict) else meta["parts"]
  )
  for what in ("checkpoint", "modality", "dims"):
    theirs = [part[what] for part in held]
    ours = [part.system.get(what) for part in parts]
    if theirs != ours:
      raise UserError(
        f"{folder} fuses other systems: {what} is {theirs}, of these parts"
        f" {ours}"
      )
  if "weights" not in meta:
    return (meta["share"], 1 - meta["share"]), [Transform()] * len(parts)
  transforms = [
    transform.load(folder / _TRANSFORM.format(number), hashed)
    for number, hashed in enumerate(meta["transforms"], 1)
  ]
  return tuple(meta["weights"]), transforms


def _write_items(path: Path, part: Source) -> None:
  """Copies an export's items, or writes what is known."""
  if part.export is not None and part.export.items.roles == part.items.roles:
    shutil.copyfile(part.export.path / EXPORTED[1], path)
    return
  names = ("id", "product", "category", "role")
  columns = {
    name: cells
    for name, cells in zip(names, part.items, strict=True)
    if cells is not None
  }
  with path.open("w", encoding="utf-8", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(columns)
    lines.writerows(zip(*columns.values(), strict=True))
