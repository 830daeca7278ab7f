"""Computes embeddings of unit length of a batch, in functions to be jitted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.errors import NotFiniteError


def fetch(arrays: Any, *, step: int | None = None) -> Any:
  """Returns arrays that a model computed as numpy's.

  Args:
    arrays: one, or a tree of them.
    step: of the checkpoint, where there is one.

  Raises:
    NotFiniteError: one has a NaN or an infinity.
  """
  found = jax.tree.map(np.asarray, arrays)
  if not all(np.isfinite(x).all() for x in jax.tree.leaves(found)):
    said = ""
    if step is not None:
      said = (
        f" at step {step}; an earlier checkpoint is named by --step (in Python"
        " step=)"
      )
    raise NotFiniteError(
      f"what the model computes is not finite: training diverged{said}"
    )
  return found


def keep_modality(batch: Batch, modality: str) -> Batch:
  """Removes the titles ("image"), the images ("title") or nothing ("both")."""
  if modality == "image":
    return batch._replace(has_title_B=batch.has_title_B & False)
  if modality == "title":
    return batch._replace(has_image_B=batch.has_image_B & False)
  return batch


def embed_unit(
  task: tasks.Task,
  params: Any,
  batch: Batch,
  *,
  modality: str,
  pool: str | None = None,
  change: dict[str, jax.Array] | None = None,
) -> jax.Array:
  """Embeds a batch, float32 [B,E], rows of unit length.

  Args:
    pool: of `task.pools`; None for the network's own embedding.
    change: of an `evaluation.transform.Transform` those of scale_D, mean_D and
      matrix_DE that it has, and the means of its `sides` by their names;
      computed as its `apply` does.
  """
  batch = keep_modality(batch, modality)
  if pool is None:
    g_BD = task.embed(params, batch)
  else:
    g_BD = task.pool(params, batch)[pool]
  norm_B1 = jnp.linalg.norm(g_BD, axis=-1, keepdims=True)
  if change:
    moved_BD = g_BD / norm_B1
    if "scale_D" in change:
      moved_BD *= change["scale_D"]
    if "mean_D" in change:
      moved_BD -= _means(batch, change)
    if "matrix_DE" in change:
      moved_BD = moved_BD @ change["matrix_DE"]
    g_BD = jnp.where(norm_B1 == 0, 0.0, moved_BD)
    norm_B1 = jnp.linalg.norm(g_BD, axis=-1, keepdims=True)
  # The null embedding, of a row without what the model looks at. It is to be
  # far from all images, and those of a ReLU are never negative.
  null = -(g_BD.shape[-1] ** -0.5)
  return jnp.where(norm_B1 == 0, null, g_BD / norm_B1)


def _means(batch: Batch, change: dict[str, jax.Array]) -> jax.Array:
  """The mean of vectors that show what a row does, [B,D], or of all [D]."""
  mean_BD = change["mean_D"]
  for side, shown_B in (
    ("both", batch.complete_rows),
    ("image", batch.has_image_B & ~batch.has_title_B),
    ("title", ~batch.has_image_B & batch.has_title_B),
  ):
    if side in change:
      mean_BD = jnp.where(shown_B[:, None], change[side], mean_BD)
  return mean_BD
