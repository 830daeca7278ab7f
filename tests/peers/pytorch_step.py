"""Times our train step beside the same step in PyTorch, in turns.

    python tests/peers/pytorch_step.py --config=configs/item_tiny.py
    python tests/peers/pytorch_step.py --config=configs/item_small.py \
      --config.batch_size=8 --config.model.dtype=float32

Both read one random batch and draw their own masks; the losses are the same
(`tests/test_peers.py`). PyTorch runs as it is, and, with --variants, with freed
memory kept as `item-jax train` keeps it, and through torch.compile.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # also in the children that it starts
  sys.path.insert(0, str(Path(__file__).parents[2]))

import turns

from item_jax import config_flags
from item_jax.batch import Batch
from item_jax.config import Config, flatten, from_flat
from item_jax.workers import count_cores

PEER = "PyTorch"
OURS = "item_jax"
VARIANTS = ("eager", "kept", "compiled")
SPECIAL, SEP = 5, 3  # as of `diagnostics.plan.Vocabulary`


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]")
  parser.add_argument("--vocab_size", type=int, default=2_048)
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
  parser.add_argument(
    "--variants",
    default="eager",
    help=f"of PyTorch, joined by commas: {', '.join(VARIANTS)}",
  )
  args, rest = parser.parse_known_args()
  config = config_flags.parse(args.config, rest)
  if config.model.dtype != "float32":
    parser.error("give --config.model.dtype=float32: the peer has no other")
  given = (flatten(config), args.vocab_size)
  sides = [turns.Side(OURS, ours, given)]
  for variant in args.variants.split(","):
    if variant not in VARIANTS:
      parser.error(f"--variants={variant}: known are {', '.join(VARIANTS)}")
    sides.append(turns.Side(f"{PEER}, {variant}", peer, (*given, variant)))
  rounds = turns.take_turns(sides, rounds=args.rounds, seconds=args.seconds)
  work = config.batch_size
  print(turns.describe(rounds, ours=OURS, work=work, unit="samples"))


def random_batch(config: Config, vocab_size: int) -> Batch:
  """Whole pairs of noise and of titles of every length, of numpy arrays."""
  m, B = config.model, config.batch_size
  random = np.random.default_rng(0)
  T = m.max_title_tokens
  length_B1 = random.integers(T // 4, T, (B, 1))
  tokens_BT = random.integers(SPECIAL, vocab_size, (B, T), np.int32)
  tokens_BT = np.where(np.arange(T) < length_B1, tokens_BT, 0)
  np.put_along_axis(tokens_BT, length_B1, SEP, axis=1)
  shape = (B, m.image_size, m.image_size, 3)
  rows = np.arange(B, dtype=np.uint32)
  return Batch(
    image_BHWC=random.integers(0, 256, shape, np.uint8),
    tokens_BT=tokens_BT.astype(np.int32),
    has_image_B=np.ones(B, bool),
    has_title_B=np.ones(B, bool),
    product_B=rows,
    title_B=rows,
    category_B=rows,
    bad_B=np.zeros(B, bool),
  )


def ours(flat: dict, vocab_size: int):
  """Our step, compiled as `item-jax train` compiles it."""
  os.environ["JAX_PLATFORMS"] = "cpu"
  import jax

  from item_jax.config import on_devices
  from item_jax.diagnostics.plan import make_task
  from item_jax.training import heap, sharding
  from item_jax.training.compiled import make_program

  heap.keep_freed()
  config = on_devices(from_flat(flat), 1)
  mesh = sharding.make_mesh(1, 1)
  task = make_task(config, vocab_size)
  program = make_program(config, task, mesh)
  step, state = program.lower().compile(), program.initial()
  batch = random_batch(config, vocab_size)
  batch = sharding.to_devices(mesh, config.batch_size, batch)

  def run(count: int) -> None:
    nonlocal state
    report = None
    for _ in range(count):
      state, report = step(state, batch)
    jax.block_until_ready(report)

  return run


def peer(flat: dict, vocab_size: int, variant: str):
  """PyTorch's step, on as many threads as there are cores."""
  if variant == "kept":
    from item_jax.training import heap

    os.environ["JAX_PLATFORMS"] = "cpu"
    heap.keep_freed()
  import pytorch_item
  import torch

  torch.set_num_threads(count_cores())
  config = from_flat(flat)
  step = pytorch_item.make_step(
    config,
    random_batch(config, vocab_size),
    vocab_size=vocab_size,
    compiled=variant == "compiled",
  )

  def run(count: int) -> None:
    for _ in range(count):
      step()

  return run


if __name__ == "__main__":
  main()
