"""Packages a trained model as a folder that runs without item_jax."""

import copy
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.data import images
from item_jax.inference import model_card, served
from item_jax.inference.embedder import Embedder, load
from item_jax.inference.unit import embed_unit
from item_jax.new_folder import new_folder
from item_jax.registry import import_extra

logger = logging.getLogger(__name__)

PLATFORMS = ("cpu", "cuda", "tpu")
FILES = {
  "README.md": "this card",
  "embedder.stablehlo": "the program, by `jax.export`, for batches of any size",
  "weights.npz": "its first argument, by name",
  "tokenizer.json": "cuts titles",
  "preprocessing.json": "what `embed.py` must know of images and titles",
  "embed.py": "runs all of it",
}


def package(
  workdir: str | os.PathLike,
  *,
  out: str | os.PathLike,
  step: int | None = None,
  like: str | os.PathLike | None = None,
  overwrite: bool = False,
) -> Path:
  """Writes a folder that embeds without item_jax, with a model card.

  It is laid out as a model's repository of Hugging Face.

  Args:
    workdir, step, like: of the model, as of `embedder.load`.
    out: the folder to write.
    overwrite: whether an earlier package there is replaced.

  Returns:
    `out`.

  Raises:
    UserError: no such run; or flatbuffers is not installed.
  """
  # Of jax.export.
  import_extra("flatbuffers", "package takes flatbuffers", "serve")
  embedder = load(workdir, step=step, like=like)
  with new_folder(out, overwrite=overwrite, replaceable=_is_package) as folder:
    program, weights = _export(embedder)
    (folder / "embedder.stablehlo").write_bytes(program)
    # Opened by us: a full disk is then named.
    with open(folder / "weights.npz", "wb") as file:
      np.savez(file, **weights)  # pyright: ignore[reportArgumentType]
    embedder.tokenizer.save(folder / "tokenizer.json")
    text = json.dumps(_preprocessing(embedder), indent=2)
    (folder / "preprocessing.json").write_text(f"{text}\n")
    shutil.copy(served.__file__, folder / "embed.py")
    values = sum(array.size for array in weights.values())
    card = model_card.write(Path(out).name, embedder, values, FILES)
    (folder / "README.md").write_text(card, "utf-8")
  return Path(out)


def _is_package(folder: Path) -> bool:
  """Whether a folder holds a package and nothing else, used or not."""
  names = {path.name for path in folder.iterdir()} - {"__pycache__"}
  return names == {*FILES}


def _export(embedder: Embedder) -> tuple[bytes, dict[str, np.ndarray]]:
  """Exports the program, and the weights that it reads."""
  config = copy.deepcopy(embedder.config)
  # What many devices do otherwise is for gradients; a size of batch that is not
  # known cannot be divided by their number.
  config.mesh.data = config.mesh.fsdp = 1
  task = tasks.make_task(
    config, embedder.tokenizer, categories=embedder.categories
  )
  found = {"params": embedder.params, "change": embedder.change or {}}
  leaves, tree = jax.tree_util.tree_flatten_with_path(found)
  names = [
    jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves
  ]
  weights = {
    name: np.asarray(leaf)
    for name, (_, leaf) in zip(names, leaves, strict=True)
  }

  def embed(given, image_BHWC, tokens_BT, has_image_B, has_title_B):
    # Those that are not given are not read.
    values = [
      given[name] if name in given else jnp.zeros_like(weights[name])
      for name in names
    ]
    state = jax.tree_util.tree_unflatten(tree, values)
    none_B = jnp.zeros_like(has_image_B, jnp.uint32)
    with jax.default_matmul_precision("highest"):
      return embed_unit(
        task,
        state["params"],
        Batch(
          *(image_BHWC, tokens_BT, has_image_B, has_title_B),
          *(none_B, none_B, none_B, jnp.zeros_like(has_image_B)),
        ),
        modality="both",
        pool=embedder.pool,
        change=state["change"],
      )

  # The first time for what it reads: an objective's head is no part of it. Of
  # batches of any size jax keeps all arguments, so this is of one row.
  read = _exported(embed, weights, _shapes(config.model, 1)).module_kept_var_idx
  kept = {n: weights[n] for i, n in enumerate(sorted(weights)) if i in read}
  (rows,) = jax.export.symbolic_shape("rows")
  exported = _exported(embed, kept, _shapes(config.model, rows))
  return bytes(exported.serialize()), kept


def _exported(embed, weights, shapes) -> jax.export.Exported:
  given = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in weights.items()
  }
  return jax.export.export(jax.jit(embed), platforms=PLATFORMS)(given, *shapes)


def _shapes(model: Any, rows: Any) -> list[jax.ShapeDtypeStruct]:
  size = model.image_size
  return [
    jax.ShapeDtypeStruct((rows, *shape), dtype)
    for shape, dtype in (
      ((size, size, 3), np.uint8),
      ((model.max_title_tokens,), np.int32),
      ((), np.bool_),
      ((), np.bool_),
    )
  ]


def _preprocessing(embedder: Embedder) -> dict[str, Any]:
  model, tokenizer = embedder.config.model, embedder.tokenizer
  return {
    "preprocessing": embedder.run.preprocessing,
    "short_side": images.SHORT_SIDE,
    "long_side": images.LONG_SIDE,
    "jpeg_quality": images.QUALITY,
    "image_size": model.image_size,
    "max_title_tokens": model.max_title_tokens,
    "pad": tokenizer.pad,
    "sep": tokenizer.sep,
    "dims": embedder.dims,
    "platforms": PLATFORMS,
    "jax": jax.__version__,
  }
