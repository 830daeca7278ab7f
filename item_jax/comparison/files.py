"""Results in, files out that are whole or not there."""

import json
from pathlib import Path

import numpy as np

from item_jax.files import write_bytes


def write_text(path: Path, text: str) -> None:
  write_bytes(path, text.encode())


def read_json(path: Path):
  """None where the file is not there."""
  return json.loads(path.read_text("utf-8")) if path.is_file() else None


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  with part.open("wb") as file:
    np.savez(file, **arrays)
  part.replace(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as held:
    return dict(held)
