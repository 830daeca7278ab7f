"""ITEm's pre-training as a task: five objectives, a sixth where asked for."""

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.config import Config
from item_jax.data.records import Store
from item_jax.data.tokenizer import Words
from item_jax.models import cost, patches
from item_jax.objectives import align, chance, item, losses, masking
from item_jax.objectives.base import Objective
from item_jax.tasks import samples
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network, example_batch, word_rows


def make_task(
  config: Config, words: Words, network: Network, categories
) -> Task:
  """`network` is an Item's; `categories` is not looked at."""
  del categories
  m = config.model
  model = network.module
  objective = item.make_objective(
    model,
    weights={name: getattr(config.loss, name) for name in item.TERMS},
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
    extra=_sixth(config, words, model),
  )

  def init(key):
    place = jnp.zeros((1, 1), jnp.int32)
    params = model.init(key, example_batch(config), place, place)["params"]
    if not config.loss.align:
      return dict(params)
    return dict(params) | align.init_params(
      jax.random.fold_in(key, 1),
      dims=m.width,
      temperature=config.align.temperature,
      projection=config.align.projection,
      std=m.init_std,
    )

  return Task(
    objective=objective,
    init=init,
    core=network.init,
    embed=network.embed,
    predict=None,
    floors=lambda store, split, words: _floors(config, store, split, words),
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=cost.train_flops_per_sample(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=model.num_patches,
      patch_pixels=model.patch_pixels,
      title_places=m.title_places,
      word_slots=masking.word_slots(m.title_places, config.mask.title_rate),
      patch_slots=masking.patch_slots(
        model.num_patches, config.mask.patch_rate
      ),
      words=word_rows(config, words),
      trained=[name for name in item.TERMS if getattr(config.loss, name)],
    )
    + 3 * _sixth_flops(config, model.num_patches),
    embed_flops=network.embed_flops,
  )


def _sixth(config: Config, words: Words, model) -> Objective:
  a = config.align

  def look(params, batch, *, side, key):
    return model.apply(
      {"params": params},
      batch,
      side=side,
      deterministic=False,
      rngs={"dropout": key},
      method="encode",
    )[:, 0]

  return align.make_align(
    look,
    weight=config.loss.align,
    kinds=a.views,
    fused=a.fused,
    changed=a.changed,
    crop=a.crop,
    light=a.light,
    word_drop=a.word_drop,
    side_drop=a.side_drop,
    special=words.special,
    pad=words.pad,
  )


def _sixth_flops(config: Config, num_patches: int) -> float:
  """Forward FLOPs of the views of a pair, each an embedding of its own."""
  m, a = config.model, config.align
  if not config.loss.align:
    return 0.0

  def view(patches_read, words_read):
    return cost.embed_flops_per_sample(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=patches_read,
      patch_pixels=m.patch**2 * 3,
      title_places=words_read,
    )

  whole = view(num_patches, m.title_places)
  sides = view(num_patches, 0) + view(0, m.title_places) + a.fused * whole
  return {"sides": sides, "twins": 2 * whole, "both": sides + 2 * whole}[
    a.views
  ]


def _floors(
  config: Config, store: Store, split: str, words: Words
) -> dict[str, float]:
  m = config.model
  word = chance.word_floor(
    samples.titles(store, split, words, m.title_places), words.special
  )
  targets = patches.to_patches(
    samples.photos(store, split, m.image_size), m.patch
  )
  targets = np.asarray(patches.normalise(targets))
  if config.loss.normalise_patches:
    targets = np.asarray(losses.standardise_patches(targets))
  pixels = chance.pixel_floor(targets)
  return {
    "itm": chance.match_floor(config.loss.swap_rate),
    "mlm": word,
    "mim": pixels,
    "gmlm": word,
    "gmim": pixels,
  } | _sixth_floor(config, store, split, words)


def _sixth_floor(
  config: Config, store: Store, split: str, words: Words
) -> dict[str, float]:
  """The mean of the kinds' floors, as the loss is of the kinds."""
  if not config.loss.align:
    return {}
  kinds = align.KINDS[config.align.views]
  # Of one side each a listing needs both; a twin has what there is.
  found = [
    samples.rival_floor(config, store, split, words, complete=kind == "sides")
    for kind in kinds
  ]
  return {"align": sum(found) / len(found)}
