"""Masked words as a task of their own: what pre-trains a text encoder."""

import jax.numpy as jnp

from item_jax.config import Config
from item_jax.data.tokenizer import Words
from item_jax.models import cost
from item_jax.objectives import chance, masking
from item_jax.objectives import mlm as objective_lib
from item_jax.tasks import samples
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network, example_batch, word_rows


def make_task(
  config: Config, words: Words, network: Network, categories
) -> Task:
  """`network` is a Roberta's; `categories` is not looked at."""
  del categories
  m = config.model
  model = network.module

  def init(key):
    place = jnp.zeros((1, 1), jnp.int32)
    return dict(model.init(key, example_batch(config), place)["params"])

  def encode(params, batch, key):
    return model.apply(
      {"params": params},
      batch,
      deterministic=False,
      rngs={"dropout": key},
      method="encode",
    )

  def predict(params, states_BSD, places_BK):
    return model.apply(
      {"params": params}, states_BSD, places_BK, method="predict"
    )

  def word_floor(store, split, words):
    titles = samples.titles(store, split, words, m.title_places)
    return {"mlm": chance.word_floor(titles, words.special)}

  return Task(
    objective=objective_lib.make_objective(
      encode,
      predict,
      vocabulary=words.size,
      special=words.special,
      mask_word=words.mask,
      title_rate=config.mask.title_rate,
      mask_share=config.mask.mask_share,
      random_share=config.mask.random_share,
    ),
    init=init,
    core=network.init,
    embed=network.embed,
    predict=None,
    floors=word_floor,
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=3
    * cost.roberta_flops(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      title_places=m.title_places,
      word_slots=masking.word_slots(m.title_places, config.mask.title_rate),
      words=word_rows(config, words),
    ),
    embed_flops=network.embed_flops,
  )
