"""Results in, files out that are whole or not there."""

import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from item_jax.files import write_bytes

_PACKAGES = ("item-jax", "jax", "flax", "optax", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
  """Of what makes a result."""
  return {name: metadata.version(name) for name in _PACKAGES} | {
    "python": platform.python_version()
  }


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
