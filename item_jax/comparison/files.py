"""Results in, files out that are whole or not there."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from item_jax.errors import UserError


def write_bytes(path: Path, content: bytes) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  part.write_bytes(content)
  part.replace(path)


def write_text(path: Path, text: str) -> None:
  write_bytes(path, text.encode())


def write_json(path: Path, value) -> None:
  write_text(path, json.dumps(value, indent=1) + "\n")


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


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
  """One comparison at a time in a folder; the kernel forgets a dead one's."""
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "lock").open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(f"another comparison is at work in {folder}") from None
    yield
