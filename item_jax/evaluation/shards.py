"""An export's folder: whose it is and how far it got in; claimed, continued
or left alone out.

A folder without meta.json is not finished. Whatever a call was killed at, the
same call takes the folder up again.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from item_jax.errors import UserError
from item_jax.files import DamagedError, read_sealed, write_sealed


class Plan(NamedTuple):
  """What an export is of; a second call goes on only with the same."""

  format: int
  step: int
  checkpoint: str
  tokenizer: str
  preprocessing: str
  data: str
  split: str
  modality: str
  dtype: str
  rows: int
  dims: int
  shard_rows: int  # all shards but the last have as many


def claim(out: Path, plan: Plan, *, overwrite: bool) -> bool:
  """Takes the folder for this export; False where it is already done."""
  for name in ("meta.json", "plan.json"):
    path = out / name
    if not path.exists():
      continue
    before = _read(path)
    differing = {
      k: (before.get(k), v)
      for k, v in plan._asdict().items()
      if before.get(k) != v
    }
    if not differing and name == "plan.json":
      return True
    if not differing:
      tidy(out)  # in case the call that finished was killed before it could
      return False
    if not overwrite:
      raise UserError(
        f"{out} holds another export, differing (there, asked) in"
        f" {differing}; give --overwrite or another --out"
      )
    break
  else:
    out.mkdir(parents=True, exist_ok=True)
    # A call that was killed here left the temporary name at most.
    if {path.name for path in out.iterdir()} - {"plan.json.part"}:
      raise UserError(f"{out} is not empty and holds no export")
  # In this order, wherever it is cut off: the folder says whose it is, no
  # shard is of another plan, and nothing half replaced looks finished.
  _remove_parts(out)
  write_sealed(out / "plan.json", plan._asdict())
  (out / "meta.json").unlink(missing_ok=True)
  return True


def _read(path: Path) -> dict:
  """What it says; nothing, so that it is no plan's, where it was altered."""
  try:
    return read_sealed(path)
  except DamagedError:
    return {}


def tidy(out: Path) -> None:
  """Removes what a finished export has no more use for."""
  (out / "plan.json").unlink(missing_ok=True)
  _remove_parts(out)


def _remove_parts(out: Path) -> None:
  if (out / "parts").exists():
    shutil.rmtree(out / "parts")


def count(plan: Plan) -> int:
  return -(-plan.rows // plan.shard_rows)


def shard_path(out: Path, number: int) -> Path:
  return out / "parts" / f"{number:05d}.npy"


def save(path: Path, array: np.ndarray) -> None:
  """Writes an .npy, all of it or nothing."""
  part = path.with_name(path.name + ".part")
  with part.open("wb") as file:
    np.save(file, array, allow_pickle=False)
  part.replace(path)
