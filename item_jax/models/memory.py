"""Counts the bytes that a chip keeps of a network's activations.

Of the arrays that XLA's compilers for GPUs and TPUs were seen to lay out in a
whole training step (docs/accelerators.md), a line each with what it is for. All
are of one pair; c are the bytes of a number of the computation (2 or 4), S
positions, D width, F width of the MLP, H heads.
"""

from typing import NamedTuple


class Chip(NamedTuple):
  """What decides how a step is laid out."""

  tpu: bool  # or a GPU
  attention: str  # the kernel: "xla", "cudnn" or "pallas"
  several: bool = False  # whether gradients are added up over chips


class Kept(NamedTuple):
  """Bytes of a pair in one pass."""

  forward: int  # when the gradients begin
  working: int  # beside them, while gradients are taken
  # When the gradients end: on several GPUs, whose compiler takes the products
  # of weights' gradients last, together with what is sent.
  backward: int = 0
  # Forward only, where nothing of it is kept.
  alone: int = 0


class Block(NamedTuple):
  """Sizes of a transformer's block and of the sequence that it reads."""

  positions: int
  width: int
  mlp: int
  heads: int
  itemsize: int  # bytes of a number of the computation, 2 or 4
  dropout: bool


def block_bytes(chip: Chip, block: Block) -> tuple[int, int]:
  """What one block keeps of one sequence: (until its gradients, after them)."""
  S, D, F, H, c, dropout = block
  kept = {
    "what the MLP's nonlinearity reads": S * F * c,
    "queries, keys and values": 3 * S * D * c,
    "what attention gives, or scaled queries": S * D * c,
    "the sums that the norms read": 2 * S * D * c,
  }
  if not chip.tpu:  # TPUs compute and draw them again
    kept["what the nonlinearity gives"] = S * F * c
    kept["what the norms give"] = 2 * S * D * c
    kept["whether dropout drops it"] = 2 * S * D * dropout
  if chip.attention != "xla":
    scores = {"a sum of each position's softmax, float32": 4 * H * S}
  else:
    scores = {"the softmax, as products take it": H * S * S * c}
    if chip.tpu:  # a form of their own (models.attention)
      scores["a sum of each position's exponentials"] = 4 * H * S
      scores["what attention gives, in float32 instead"] = S * D * (4 - c)
    else:
      scores["scores, float32"] = 4 * H * S * S
  before = sum(kept.values())
  if chip.tpu or not chip.several:
    return before + sum(scores.values()), 0
  # Of each layer what comes in and its gradient, of norms and dropout too.
  return before + sum(scores.values()), before + 6 * S * D * c


def encoder_bytes(
  layers: int, chip: Chip, block: Block, *, remat: bool, read: int
) -> Kept:
  """What a transformer keeps of one sequence.

  With remat only what goes into a block is kept, and one block at a time is
  computed again.

  Args:
    read: numbers of patches.
  """
  S, D, F, H, c, dropout = block
  before = {
    "patches, as the first product reads them": read * c,
    "embeddings, float32": S * D * 4,
    "the same in their order, and what the first block reads": 2 * S * D * c,
    "whether dropout drops it": S * D * dropout,
  }
  # On GPUs the second of the MLP is written where its nonlinearity's result
  # was. Those of the softmax come after, and what is inside the MLP is gone.
  working = (2 if chip.tpu else 1) * S * F * c
  if chip.attention == "xla":
    working = max(working, 2 * H * S * S * c)
  one, after = block_bytes(chip, block)
  embedded = sum(before.values())
  if remat:
    # A block is computed again. What goes into the first one is among the
    # embeddings, and what a last norm gives is not needed.
    again = one - S * D * c
    if not chip.tpu:
      again -= S * D * (c + dropout)
      # The last block comes when every block's input is still kept, and writes
      # its gradients in place; when the first comes, only its own is kept.
      working = max(0, working - (layers - 1) * S * D * c)
    working += again
    one, after = S * D * c, 0
  return Kept(
    embedded + layers * one,
    working,
    embedded + layers * after if after else 0,
  )


class Head(NamedTuple):
  """Heads that predict the same positions.

  slots: positions of a pair. out: numbers that each of the decoders predicts
  at one. transforms: before the decoders.
  """

  slots: int
  decoders: int
  out: int
  transforms: int
  width: int
  itemsize: int

  def activation_bytes(self, chip: Chip) -> int:
    """Counts what is kept of a pair.

    Float32 predictions, and on GPUs the gradients of one decoder's: they are
    done with before the next one's are begun, and a TPU makes them while it
    multiplies by them. Of each transform three arrays.
    """
    predicted = 4 * (self.decoders + (not chip.tpu)) * self.out
    transformed = 3 * self.transforms * self.width * self.itemsize
    return self.slots * (predicted + transformed)


def resnet_bytes(
  *, stages: tuple[int, ...], width: int, image_size: int, itemsize: int
) -> Kept:
  """What a ResNet keeps of an image.

  Of every convolution its output, and what norm and ReLU make of it, which the
  next convolution reads. Of the stem the same, once more with the max-pool's
  padding, and what the pool gives.
  """
  side = -(-image_size // 2)
  stem = side * side * width
  sizes = []
  side = -(-side // 2)  # max-pool
  channels, pooled = width, side * side * width
  for i, blocks in enumerate(stages):
    inner, out = width * 2**i, 4 * width * 2**i
    for j in range(blocks):
      sizes.append(side * side * inner)
      side = -(-side // 2) if i > 0 and j == 0 else side
      sizes += [side * side * inner, side * side * out]
      if channels != out:
        sizes.append(side * side * out)
      channels = out
  image = 3 * image_size**2
  kept = 2 * sum(sizes) + 3 * stem + pooled + image
  # One that is read, what is made of it, and the sum that passes both by.
  sizes = [stem, pooled, *sizes]
  most = max(map(sum, zip(sizes, sizes[1:], sizes[2:], strict=False)))
  return Kept(kept * itemsize, max(sizes) * itemsize, alone=most * itemsize)
