"""Counts the bytes that one training pass keeps beside the state."""

from typing import NamedTuple

from item_jax.config import Config
from item_jax.models.memory import Chip
from item_jax.models.passes import EncoderPass
from item_jax.tasks import Task, padded_vocab_size


class Activations(NamedTuple):
  """Bytes on one device."""

  pair: int  # for each pair of a pass
  table: int  # once: gradients of the token table, one of each of its decoders
  titles: int  # once: zeros, which its gradients from titles are added to
  other: int  # for each pair and each pair that it is compared with


def count(config: Config, task: Task, chip: Chip) -> Activations:
  """What is kept at the worst moment of a pass.

  That is when the heads' gradients are taken, or the last block's, or all are.
  """
  objective = task.objective
  kept = [one.activation_bytes(chip) for one in objective.passes]
  working = max((one.working for one in kept), default=0)
  heads = sum(one.activation_bytes(chip) for one in objective.heads)
  begin = sum(one.forward for one in kept) + max(working, heads)
  # A weight that several passes share: XLA adds their products up as it goes
  # back, and little waits for the end.
  encoders = [one for one in objective.passes if isinstance(one, EncoderPass)]
  shared = len({one.encoder for one in encoders}) < len(encoders)
  end = 0 if shared else sum(one.backward for one in kept)
  rows = padded_vocab_size(config, task.vocabulary)
  table = 4 * rows * config.model.width
  return Activations(
    # A frozen stem has run before anything else is kept.
    pair=max(begin, end, *(one.alone for one in kept)),
    table=objective.token_decoders * table,
    # GPUs have them from the start, TPUs when they are added to.
    titles=0 if chip.tpu else table * sum(one.tokens > 0 for one in encoders),
    # Cosines, a softmax and a gradient each way.
    other=4 * 5 if objective.whole_batch else 0,
  )
