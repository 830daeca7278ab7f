"""Counts the bytes that one training pass keeps beside the state."""

from typing import NamedTuple

from item_jax.config import Config
from item_jax.models.memory import Chip
from item_jax.tasks import Task, padded_vocab_size


class Activations(NamedTuple):
  """Bytes on one device."""

  pair: int  # for each pair of a pass
  table: int  # once: gradients of the token table, one of each of its decoders
  other: int  # for each pair and each pair that it is compared with


def count(config: Config, task: Task, chip: Chip) -> Activations:
  """What is kept at the worst moment of a pass.

  That is when the heads' gradients are taken, or the last block's, or all are.
  """
  objective = task.objective
  kept = [one.activation_bytes(chip) for one in objective.passes]
  working = max((one.working for one in kept), default=0)
  begin = sum(one.forward for one in kept) + max(working, objective.head_bytes)
  rows = padded_vocab_size(config, task.vocabulary)
  return Activations(
    pair=max(begin, sum(one.backward for one in kept)),
    table=objective.token_decoders * 4 * rows * config.model.width,
    # Cosines, a softmax and a gradient each way.
    other=4 * 5 if objective.whole_batch else 0,
  )
