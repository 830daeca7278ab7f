"""Reads what orbax wrote; refuses a tree that differs, naming its leaves.

A State's fields have the names of version 0.1 on disk: `to_saved` and
`from_saved` translate.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import keystr

from item_jax.errors import UserError
from item_jax.training import orbax_logs  # noqa: F401 - from its import on

# {field of training.step.State: its name in a checkpoint} where they differ.
SAVED_NAMES = {
  "opt_state": "moments",
  "skipped_in_a_row": "bad_run",
  "skipped_total": "bad_total",
  "unreadable_total": "bad_records",
}


def to_saved(state: Any) -> Any:
  """A State as the dict that a checkpoint holds; other trees as they are."""
  if not dataclasses.is_dataclass(state):
    return state
  return {
    SAVED_NAMES.get(field.name, field.name): getattr(state, field.name)
    for field in dataclasses.fields(state)
  }


def from_saved(saved: Any, like: Any) -> Any:
  """What `to_saved` returned, with the type and the names of `like`."""
  if not dataclasses.is_dataclass(like) or isinstance(like, type):
    return saved
  values = {
    field.name: saved[SAVED_NAMES.get(field.name, field.name)]
    for field in dataclasses.fields(like)
  }
  return dataclasses.replace(like, **values)


def read(folder: Path, like: Any) -> Any:
  """Reads the whole tree, laid out as `like`.

  Args:
    like: a tree of `jax.ShapeDtypeStruct` with shardings.

  Raises:
    UserError: paths, shapes or dtypes differ from `like`.
  """
  saved = to_saved(like)
  _check_fits(folder, _tree(folder), saved)
  with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
    found = reader.restore(folder, args=ocp.args.StandardRestore(saved))
  return from_saved(found, like)


def read_part(folder: Path, name: str, like: Any) -> Any:
  """Reads only the branch `name` of the tree, as numpy arrays.

  Raises:
    UserError: as `read`.
  """
  _check_fits(folder, _tree(folder)[name], like)
  plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
  with ocp.PyTreeCheckpointer() as reader:
    restored = reader.restore(
      folder,
      args=ocp.args.PyTreeRestore(
        item={name: like}, restore_args={name: plain}, partial_restore=True
      ),
    )
  return restored[name]


def _tree(folder: Path):
  with ocp.PyTreeCheckpointer() as reader:
    return reader.metadata(folder).item_metadata.tree


def _check_fits(folder: Path, held, like) -> None:
  # Orbax casts dtypes and ignores shapes without a warning.
  found, wanted = _signature(held), _signature(like)
  if found != wanted:
    odd = sorted(set(found.items()) ^ set(wanted.items()))
    raise UserError(
      f"checkpoint {folder.parent} does not fit this model; differing leaves,"
      f" of both sides: {odd[:8]}"
    )


def _signature(tree) -> dict[str, tuple]:
  """{path: (shape, dtype)}, the path spelled alike for every container."""
  leaves = jax.tree_util.tree_leaves_with_path(
    tree, is_leaf=lambda x: hasattr(x, "shape") and hasattr(x, "dtype")
  )
  return {
    keystr(path, simple=True, separator="/"): (tuple(x.shape), str(x.dtype))
    for path, x in leaves
  }
