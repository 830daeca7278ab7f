"""Masked words as a task of their own: what pre-trains a text encoder."""

import jax.numpy as jnp

from item_jax.config import Config
from item_jax.data.tokenizer import Tokenizer
from item_jax.models import cost
from item_jax.objectives import chance, masking
from item_jax.objectives import mlm as objective_lib
from item_jax.tasks import samples
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network, example_batch, padded_vocab_size


def make_task(
  config: Config, tokenizer: Tokenizer, network: Network, categories
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

  def predict(params, states_BSD, positions_BK):
    return model.apply(
      {"params": params}, states_BSD, positions_BK, method="predict"
    )

  def token_chance(store, split, tokenizer):
    titles = samples.titles(store, split, tokenizer, m.max_title_tokens)
    return {"mlm": chance.token_chance(titles, tokenizer.special)}

  return Task(
    objective=objective_lib.make_objective(
      encode,
      predict,
      vocabulary=tokenizer.size,
      special=tokenizer.special,
      mask_id=tokenizer.mask,
      title_rate=config.mask.title_rate,
      mask_fraction=config.mask.mask_fraction,
      random_fraction=config.mask.random_fraction,
    ),
    init=init,
    core=network.init,
    embed=network.embed,
    predict=None,
    floors=token_chance,
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=3
    * cost.roberta_flops(
      layers=m.layers,
      width=m.width,
      mlp=m.mlp,
      max_title_tokens=m.max_title_tokens,
      max_masked_tokens=masking.max_masked_tokens(
        m.max_title_tokens, config.mask.title_rate
      ),
      vocab_size=padded_vocab_size(config, tokenizer),
    ),
    embed_flops=network.embed_flops,
  )
