"""Counts the bytes that one training pass keeps beside the state."""

from typing import NamedTuple

from item_jax.config import Config
from item_jax.tasks import Task, padded_vocab_size


class Activations(NamedTuple):
  """Bytes on one device."""

  pair: int  # for each pair of a pass
  table: int  # once: gradients of the token table, one of each of its decoders
  other: int  # for each pair and each pair that it is compared with


def count(
  config: Config, task: Task, *, attention: str, chips: int
) -> Activations:
  """What is kept at the worst moment of a pass.

  That is when the last block's gradients are taken, or before that the
  heads'.

  Args:
    attention: "xla" or "cudnn".
  """
  objective = task.objective
  # XLA does not split the generator "rbg" (models/memory.py).
  bits = 4 * (chips if config.model.dropout_bits == "rbg" else 1)
  kept = working = 0
  for one in objective.passes:
    part = one.activation_bytes(attention=attention, bits=bits)
    kept, working = kept + part[0], max(working, part[1])
  rows = padded_vocab_size(config, task.vocabulary)
  return Activations(
    pair=kept + objective.head_bytes + max(working, objective.head_bytes),
    table=objective.token_decoders * 4 * rows * config.model.width,
    # Cosines, a softmax and a gradient each way.
    other=4 * 5 if objective.whole_batch else 0,
  )
