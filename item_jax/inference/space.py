"""Keeps how an export's vectors were pooled and transformed, beside them.

The transform is transform.npz, the rest is the field "made" of meta.json. Until
that is written they are space.npz and space.json.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation.items import open_export
from item_jax.evaluation.transform import Transform
from item_jax.files import (
  CorruptError,
  read_checksummed,
  sha256,
  write_checksummed,
)
from item_jax.training.fetched import copied_run
from item_jax.training.run import read_run

MATRIX = "transform.npz"


class Space(NamedTuple):
  """A pool of a network's states, and the transform of its vectors.

  made: what is to be known of them, of JSON: pool, transform (in words), dims;
  map@10 on validation of a modality, that of the embedding as_trained and all
  that was tried, where something was; checkpoint; the request that led to them;
  and sha256, of the transform's file.
  """

  transform: Transform
  made: dict[str, Any]


def describe(made: dict[str, Any]) -> str:
  """Says in a line which space it is, and what it scored."""
  text = f"pool {made['pool']}, {made['transform']}"
  if "map@10" in made:
    text += f": MAP@10 on validation {made['map@10']:.4f}"
    if made["as_trained"] is not None:
      text += f" (as trained: {made['as_trained']:.4f})"
    if "modality" in made:  # by `like`, others are shown in the same space
      text += f", of the modality {made['modality']}"
  return text


def save(folder: Path, space: Space) -> dict[str, Any]:
  """Writes the space of an export that is to be made; returns what is known."""
  hashed = space.transform.save(folder / "space.npz")
  made = space.made | {"sha256": hashed}
  write_checksummed(folder / "space.json", made)
  return made


def read(folder: Path, made: dict[str, Any]) -> Space:
  """Reads what `save` wrote.

  Raises:
    CorruptError: space.npz was altered.
  """
  return Space(transform_lib.load(folder / "space.npz", made["sha256"]), made)


def finish(folder: Path, space: Space | None) -> list[str]:
  """Writes transform.npz, or removes that of an export which is replaced.

  Returns:
    The names of files that are there.
  """
  if space is None:
    (folder / MATRIX).unlink(missing_ok=True)
    return []
  space.transform.save(folder / MATRIX)
  return [MATRIX]


def find(folder: Path, request: dict[str, Any]) -> Space | None:
  """Finds the space that was made for a request, in an export's folder."""
  for name, matrix in (("space.json", "space.npz"), ("meta.json", MATRIX)):
    try:
      made = read_checksummed(folder / name)
      made = made.get("made") if name == "meta.json" else made
      if made and made["request"] == request:
        transform = transform_lib.load(folder / matrix, made["sha256"])
        return Space(transform, made)
    except (FileNotFoundError, CorruptError):
      continue  # it is made again
  return None


def open_like(
  folder: str | os.PathLike, workdir: str | os.PathLike, step: int | None = None
) -> tuple[int, Space | None]:
  """Opens the space of a finished export.

  Args:
    workdir: of the run that it must be of.
    step: of the checkpoint; None for that of the export.

  Returns:
    The export's step, and its space; None where it is as trained.

  Raises:
    UserError: it is of another run or step.
  """
  meta = open_export(folder).meta
  if "step" not in meta:
    raise UserError(
      f"{folder} is no export of a run, so nothing can be like it"
    )
  if step not in (None, meta["step"]):
    raise UserError(f"{folder} is of step {meta['step']}, not of {step}")
  made = meta.get("made")
  with copied_run(workdir, step=meta["step"]) as copy:
    read_run(copy)  # or there is no run, and no checkpoint of it
    ours = checkpoint_id(copy, meta["step"])
  if ours != (meta if made is None else made)["checkpoint"]:
    raise UserError(f"{folder} is an export of other weights than {workdir}'s")
  if made is None:
    return meta["step"], None
  transform = transform_lib.load(Path(folder) / MATRIX, made["sha256"])
  return meta["step"], Space(transform, made)


def checkpoint_id(workdir: Path, step: int) -> str:
  """A fingerprint of the weights: of the manifest, of run.json for step 0."""
  manifest = workdir / "checkpoints" / str(step) / "manifest.json"
  path = manifest if manifest.is_file() else workdir / "run.json"
  return sha256(path)
