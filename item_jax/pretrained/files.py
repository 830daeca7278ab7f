"""Reads tensors by name from local safetensors files.

Nothing is downloaded and nothing is unpickled.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from item_jax.errors import NotFoundError, UserError
from item_jax.files import CorruptError, read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
# Formats that other programs keep weights in, most of them pickles, which can
# run any program when they are opened.
_REFUSED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".npz")
_REFUSED += (".msgpack", ".onnx")
_FLOATS = ("F64", "F32", "F16", "BF16")


class Tensors:
  """What a file or a folder holds, read one tensor at a time.

  path: as given. folder: that the weights are in. shapes: name -> shape of each
  tensor. config, preprocessor: what `config.json` and
  `preprocessor_config.json` beside the weights hold; empty where there is none.
  """

  def __init__(
    self,
    path: Path,
    files: Mapping[str, Path],
    shapes: Mapping[str, tuple[int, ...]],
  ):
    self.path = path
    self.shapes = dict(shapes)
    self._files = dict(files)
    self.folder = path if path.is_dir() else path.parent
    self.config = read_object(self.folder / CONFIG)
    self.preprocessor = read_object(self.folder / PREPROCESSOR)

  def read(self, name: str) -> np.ndarray:
    """One tensor as float32, whatever float it is kept in.

    Raises:
      UserError: it is not made of floats, or holds a NaN or an infinity.
    """
    file = self._files[name]
    try:
      with safe_open(file, framework="numpy") as opened:
        kind = opened.get_slice(name).get_dtype()
        if kind not in _FLOATS:
          raise UserError(
            f"{file}: {name} is of type {kind}, expected one of"
            f" {', '.join(_FLOATS)}"
          )
        values = opened.get_tensor(name).astype(np.float32)
    except (SafetensorError, OSError) as error:
      raise UserError(f"{file} cannot be read: {error}") from error
    if not np.isfinite(values).all():
      raise UserError(f"{file}: {name} holds a NaN or an infinity")
    return values


def open_tensors(path: str | os.PathLike) -> Tensors:
  """Opens a `.safetensors` file, an index of several, or a folder of either.

  Raises:
    NotFoundError: there is nothing at `path`.
    UserError: it is of another format, broken, or an index and its files
      disagree; the message names the file.
  """
  path = Path(path)
  file = _find(path)
  if file.name.endswith(".index.json"):
    files, shapes = _open_index(file)
  else:
    shapes = _read_shapes(file)
    files = dict.fromkeys(shapes, file)
  return Tensors(path, files, shapes)


def _find(path):
  if not path.exists():
    raise NotFoundError(f"no weights at {path}")
  if path.is_dir():
    return _find_inside(path)
  if path.suffix in _REFUSED:
    raise UserError(_refusal(path))
  if path.suffix != ".safetensors" and not path.name.endswith(".index.json"):
    raise UserError(f"{path} is not named .safetensors or .index.json")
  return path


def _find_inside(folder):
  for name in (WEIGHTS, INDEX):
    if (folder / name).is_file():
      return folder / name
  names = sorted(p.name for p in folder.iterdir())
  found = [n for n in names if n.endswith(".safetensors")]
  if len(found) == 1:
    return folder / found[0]
  if found:
    raise UserError(
      f"{folder} holds {', '.join(found)}, but neither {WEIGHTS} nor {INDEX}"
    )
  for name in names:
    if Path(name).suffix in _REFUSED:
      raise UserError(_refusal(folder / name))
  raise UserError(
    f"{folder} holds no .safetensors file; there are: {', '.join(names)}"
  )


def _refusal(path):
  return (
    f"{path}: weights are read from .safetensors files only; a"
    f" {path.suffix} file is never opened"
  )


def _read_shapes(file):
  try:
    with safe_open(file, framework="numpy") as opened:
      return {
        name: tuple(opened.get_slice(name).get_shape())
        for name in opened.keys()  # noqa: SIM118 (it is no dict)
      }
  except (SafetensorError, OSError) as error:
    raise UserError(
      f"{file} is broken, or no safetensors file: {error}"
    ) from error


def _open_index(index):
  """Tensors of several files; index and files must name the same ones."""
  listed = read_object(index).get("weight_map")
  if not isinstance(listed, dict) or not all(
    isinstance(name, str) for name in listed.values()
  ):
    raise UserError(f"{index} has no weight_map from tensors to files")
  names = sorted(set(listed.values()))
  for name in names:
    # A plain name: an index from elsewhere must not reach out of its folder.
    if Path(name).name != name or not name.endswith(".safetensors"):
      raise UserError(
        f"{index} names the file {name!r}, expected a .safetensors file in its"
        " own folder"
      )
    if not (index.parent / name).is_file():
      raise UserError(f"{index} names {name}, which is not there")
  files, shapes = {}, {}
  for name in names:
    file = index.parent / name
    held = _read_shapes(file)
    expected = {tensor for tensor, where in listed.items() if where == name}
    if expected != held.keys():
      raise UserError(
        f"{index} and {name} disagree: only in the index"
        f" {sorted(expected - held.keys())[:5]}, only in the file"
        f" {sorted(held.keys() - expected)[:5]}"
      )
    shapes |= held
    files |= dict.fromkeys(held, file)
  return files, shapes


def read_object(path: Path) -> dict[str, Any]:
  """The JSON object in a file; empty where there is no file.

  Raises:
    UserError: it is no JSON, or no object.
  """
  if not path.is_file():
    return {}
  try:
    content = read_json(path)
  except CorruptError as error:
    raise UserError(f"{path} is no JSON: {error}") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} is no JSON object")
  return content
