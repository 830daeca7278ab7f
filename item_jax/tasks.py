"""A task's name in; its model, objective, embedding and costs out.

The only switch on strings: what trains, exports and measures below here is
handed a `Task` and knows no names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import pipeline
from item_jax.data.records import Store
from item_jax.data.tokenizer import Words
from item_jax.errors import UserError
from item_jax.models import cost, patches
from item_jax.models.item import Item
from item_jax.objectives import floors, losses, masking, pretrain
from item_jax.objectives.contract import Objective
from item_jax.objectives.keys import key_for

# Rows that the floors are estimated from.
_FLOOR_TITLES = 20_000
_FLOOR_PHOTOS = 1_024


class Task(NamedTuple):
  """A model and what it is trained for; every function is pure.

  init(key) -> params.
  embed(params, batch) -> float32 [B,D], not yet of unit length.
  floors(store, split, words) -> {loss name: value of ignorance}.
  """

  objective: Objective
  init: Callable
  embed: Callable
  floors: Callable
  train_flops: float  # of a pair, forward and backward
  embed_flops: float  # of a pair


def example_batch(config: Config, rows: int = 1) -> Batch:
  """A Batch of the right shapes, of zeros."""
  m = config.model
  return Batch(
    image_BHWC=np.zeros((rows, m.image_size, m.image_size, 3), np.uint8),
    words_BT=np.zeros((rows, m.title_places), np.int32),
    has_image_B=np.ones((rows,), bool),
    has_title_B=np.ones((rows,), bool),
    product_B=np.arange(rows, dtype=np.uint32),
    title_B=np.arange(rows, dtype=np.uint32),
  )


def make_task(config: Config, words: Words, *, attention: str = "xla") -> Task:
  """Builds what `config.task` names.

  Args:
    attention: "xla" or "cudnn", chosen beforehand.
  """
  makers = {"item": _make_item}
  if config.task not in makers:
    raise UserError(
      f"task={config.task!r}: known are {', '.join(sorted(makers))}"
    )
  return makers[config.task](config, words, attention)


def _make_item(config: Config, words: Words, attention: str) -> Task:
  m = config.model
  rows = -(-words.size // m.word_multiple) * m.word_multiple
  model = Item(
    words=rows,
    pad=words.pad,
    image_size=m.image_size,
    patch=m.patch,
    title_places=m.title_places,
    layers=m.layers,
    width=m.width,
    heads=m.heads,
    mlp=m.mlp,
    dropout=m.dropout,
    norm=m.norm,
    init_std=m.init_std,
    dtype=jnp.dtype(m.dtype),
    attention=attention,
    remat=m.remat,
  )
  weights = {name: getattr(config.loss, name) for name in pretrain.TERMS}
  objective = pretrain.make_objective(
    model,
    weights=weights,
    vocabulary=words.size,
    special=words.special,
    mask_word=words.mask,
    title_rate=config.mask.title_rate,
    patch_rate=config.mask.patch_rate,
    mask_share=config.mask.mask_share,
    random_share=config.mask.random_share,
    swap_rate=config.loss.swap_rate,
    keep_unmatched=config.loss.keep_unmatched,
    normalise_patches=config.loss.normalise_patches,
  )

  def init(key):
    place = jnp.zeros((1, 1), jnp.int32)
    return model.init(key, example_batch(config), place, place)["params"]

  def embed(params, batch):
    return model.apply({"params": params}, batch, method="embed")

  def item_floors(store: Store, split: str, words: Words) -> dict[str, float]:
    source = store.source(split)
    titles = _spread(len(source), _FLOOR_TITLES)
    words_NT = np.stack(
      [words.encode(source[i].title, m.title_places) for i in titles]
    )
    images = []
    for i in _spread(len(source), _FLOOR_PHOTOS):
      row = pipeline.make_row(
        source[i], words=words, image_size=m.image_size, title_places=3
      )
      if row.has_image_B:
        images.append(row.image_BHWC)
    pixels = 0.0
    if images:
      targets = np.asarray(
        patches.to_patches(
          np.stack(images).astype(np.float32) / 127.5 - 1.0, m.patch
        )
      )
      if config.loss.normalise_patches:
        targets = np.asarray(losses.standardise_patches(targets))
      pixels = floors.pixel_floor(targets)
    word = floors.word_floor(words_NT, words.special)
    return {
      "itm": floors.ITM_FLOOR,
      "mlm": word,
      "mim": pixels,
      "gmlm": word,
      "gmim": pixels,
    }

  sizes = {
    "layers": m.layers,
    "width": m.width,
    "mlp": m.mlp,
    "num_patches": model.num_patches,
    "patch_pixels": model.patch_pixels,
    "title_places": m.title_places,
  }
  return Task(
    objective=objective,
    init=init,
    embed=embed,
    floors=item_floors,
    train_flops=cost.train_flops_per_sample(
      **sizes,
      word_slots=masking.word_slots(m.title_places, config.mask.title_rate),
      patch_slots=masking.patch_slots(
        model.num_patches, config.mask.patch_rate
      ),
      words=rows,
    ),
    embed_flops=cost.embed_flops_per_sample(**sizes),
  )


def _spread(size: int, most: int) -> np.ndarray:
  """At most `most` row numbers, evenly spread over the split."""
  return np.unique(np.linspace(0, size - 1, min(size, most)).astype(int))


def initial_params(task: Task, seed: int) -> Any:
  """The parameters that a run with this seed starts from."""
  return task.init(key_for(jax.random.key(seed), 0, "init"))


def count_parameters(params: Any) -> int:
  return sum(x.size for x in jax.tree.leaves(params))
