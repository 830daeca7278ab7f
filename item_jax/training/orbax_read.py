"""Reads what orbax wrote: a folder and a tree of shapes in, arrays out, or a
refusal that names the leaves that differ."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from item_jax.errors import UserError


def read(folder: Path, like):
  """The whole tree, laid out as `like`: `jax.ShapeDtypeStruct` with shardings.

  Raises:
    UserError: paths, shapes or dtypes differ from `like`.
  """
  _check_fits(folder, _tree(folder), like)
  with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
    return reader.restore(folder, args=ocp.args.StandardRestore(like))


def read_part(folder: Path, name: str, like):
  """The branch `name` of the tree alone, as arrays of numpy.

  Raises:
    As `read`.
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
  # Orbax casts dtypes, and ignores shapes, without a word.
  found, wanted = _signature(held), _signature(like)
  if found != wanted:
    odd = sorted(set(found.items()) ^ set(wanted.items()))
    raise UserError(
      f"checkpoint {folder.parent} does not fit this model; differing leaves,"
      f" of both sides: {odd[:8]}"
    )


def _signature(tree) -> dict[str, tuple]:
  """{path: (shape, dtype)} with path spelled alike for every container."""

  def spell(key) -> str:
    for name in ("key", "name", "idx"):
      if hasattr(key, name):
        return str(getattr(key, name))
    return str(key)

  leaves = jax.tree_util.tree_leaves_with_path(
    tree, is_leaf=lambda x: hasattr(x, "shape") and hasattr(x, "dtype")
  )
  return {
    "/".join(spell(k) for k in path): (tuple(x.shape), str(x.dtype))
    for path, x in leaves
  }
