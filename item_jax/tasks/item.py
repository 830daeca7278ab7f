"""ITEm's pre-training as a task: five objectives, a sixth where asked for."""

import jax
import jax.numpy as jnp
import numpy as np

from item_jax.config import Config
from item_jax.data.records import Store
from item_jax.data.tokenizer import Tokenizer
from item_jax.models import cost, patches
from item_jax.objectives import align, chance, item, losses, masking
from item_jax.objectives.base import Objective
from item_jax.tasks import samples
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network, example_batch, padded_vocab_size


def make_task(
  config: Config, tokenizer: Tokenizer, network: Network, categories
) -> Task:
  """`network` is an Item's; `categories` is not looked at."""
  del categories
  m = config.model
  model = network.module
  objective = item.make_objective(
    model,
    weights={name: getattr(config.loss, name) for name in item.TERMS},
    vocabulary=tokenizer.size,
    special=tokenizer.special,
    mask_id=tokenizer.mask,
    title_rate=config.mask.title_rate,
    patch_rate=config.mask.patch_rate,
    mask_fraction=config.mask.mask_fraction,
    random_fraction=config.mask.random_fraction,
    negative_rate=config.loss.negative_rate,
    keep_negatives=config.loss.keep_negatives,
    normalise_patches=config.loss.normalise_patches,
    extra=_sixth(config, tokenizer, model),
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
    floors=lambda store, split, tokenizer: _floors(
      config, store, split, tokenizer
    ),
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=cost.train_flops_per_sample(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=model.num_patches,
      patch_pixels=model.patch_pixels,
      max_title_tokens=m.max_title_tokens,
      max_masked_tokens=masking.max_masked_tokens(
        m.max_title_tokens, config.mask.title_rate
      ),
      num_masked_patches=masking.num_masked_patches(
        model.num_patches, config.mask.patch_rate
      ),
      vocab_size=padded_vocab_size(config, tokenizer),
      trained=[name for name in item.TERMS if getattr(config.loss, name)],
    )
    + 3 * _sixth_flops(config, model.num_patches),
    embed_flops=network.embed_flops,
  )


def _sixth(config: Config, tokenizer: Tokenizer, model) -> Objective:
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
    token_drop=a.token_drop,
    modality_drop=a.modality_drop,
    special=tokenizer.special,
    pad=tokenizer.pad,
  )


def _sixth_flops(config: Config, num_patches: int) -> float:
  """Forward FLOPs of the views of a pair, each an embedding of its own."""
  m, a = config.model, config.align
  if not config.loss.align:
    return 0.0

  def view(patches_read, tokens_read):
    return cost.embed_flops_per_sample(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      num_patches=patches_read,
      patch_pixels=m.patch**2 * 3,
      max_title_tokens=tokens_read,
    )

  whole = view(num_patches, m.max_title_tokens)
  sides = view(num_patches, 0) + view(0, m.max_title_tokens) + a.fused * whole
  return {"sides": sides, "twins": 2 * whole, "both": sides + 2 * whole}[
    a.views
  ]


def _floors(
  config: Config, store: Store, split: str, tokenizer: Tokenizer
) -> dict[str, float]:
  m = config.model
  word = chance.token_chance(
    samples.titles(store, split, tokenizer, m.max_title_tokens),
    tokenizer.special,
  )
  targets = patches.to_patches(
    samples.photos(store, split, m.image_size), m.patch
  )
  targets = np.asarray(patches.normalise(targets))
  if config.loss.normalise_patches:
    targets = np.asarray(losses.standardise_patches(targets))
  pixels = chance.pixel_chance(targets)
  return {
    "itm": chance.match_chance(config.loss.negative_rate),
    "mlm": word,
    "mim": pixels,
    "gmlm": word,
    "gmim": pixels,
  } | _sixth_floor(config, store, split, tokenizer)


def _sixth_floor(
  config: Config, store: Store, split: str, tokenizer: Tokenizer
) -> dict[str, float]:
  """The mean of the kinds' floors, as the loss is of the kinds."""
  if not config.loss.align:
    return {}
  kinds = align.KINDS[config.align.views]
  # Of one side each a listing needs both; a twin has what there is.
  found = [
    samples.rival_chance(
      config, store, split, tokenizer, complete=kind == "sides"
    )
    for kind in kinds
  ]
  return {"align": sum(found) / len(found)}
