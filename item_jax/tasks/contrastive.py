"""Photo against title as a task: what trains two towers."""

from item_jax.config import Config
from item_jax.data.tokenizer import Tokenizer
from item_jax.objectives import contrastive
from item_jax.tasks import samples
from item_jax.tasks.base import Task
from item_jax.tasks.networks import Network


def make_task(
  config: Config, tokenizer: Tokenizer, network: Network, categories
) -> Task:
  """`network` is a Clip's; `words` and `categories` are not looked at."""
  del tokenizer, categories
  model = network.module

  def tower(side):
    def run(params, batch, key):
      return model.apply(
        {"params": params},
        batch,
        deterministic=False,
        rngs={"dropout": key},
        method=side,
      )

    return run

  return Task(
    objective=contrastive.make_objective(tower("image"), tower("title")),
    init=network.init,
    core=network.init,
    embed=network.embed,
    predict=None,
    floors=lambda store, split, tokenizer: {
      "contrastive": samples.rival_chance(
        config, store, split, tokenizer, complete=True
      )
    },
    dims=network.dims,
    side=network.side,
    sequence=network.sequence,
    train_flops=3 * network.embed_flops,
    embed_flops=network.embed_flops,
  )
