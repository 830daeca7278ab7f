"""Counts the bytes that training keeps of a network's activations.

What reverse mode keeps of a block between its two passes, a pair, in bytes; c
are those of a number of the computation (2 or 4), S positions, D width, F width
of the MLP, H heads:

  2 S D 4     what the two norms read: they compute in float32
  2 S D c     what they give, which the next products read
  3 S D c     queries, keys and values
    S D c     what attention gives
  2 S F c     the MLP: what its nonlinearity reads and gives
  2 S D r     where dropout drops any, what it gives, c, and its bits: 4; of
              "rbg" 4 for each chip, because XLA does not split that generator:
              every chip draws, and keeps, the bits of all of them
  2 S D c     attention by XLA: two operands laid out for its products
  H S S 4     the same: the softmax, in float32,
  H S S c     and as the products take it, where c is not 4
  H S 4       attention by cuDNN instead of the last three: a sum a position

With remat only what goes into a block is kept, S D c, and one block at a time
is computed again. What a compiler fuses it may keep more of or less: these
counts are held against XLA's own in tests/test_plan.py.
"""


def block_bytes(
  *,
  positions: int,
  width: int,
  mlp: int,
  heads: int,
  itemsize: int,
  attention: str,
  dropped: int,
) -> int:
  """What one block keeps of one sequence; see the head of this file.

  Args:
    itemsize: bytes of a number of the computation, 2 or 4.
    attention: "xla" or "cudnn".
    dropped: bytes kept of each number that dropout sees; 0 for none.
  """
  S, D, c = positions, width, itemsize
  total = S * D * (2 * 4 + 6 * c + 2 * dropped)
  total += 2 * S * mlp * c
  if attention == "cudnn":
    return total + 4 * heads * S
  return total + 2 * S * D * c + heads * S * S * (4 + (c if c < 4 else 0))


def encoder_bytes(
  layers: int, *, remat: bool, dropped: int, **block
) -> tuple[int, int]:
  """(kept, beside it while the last block's gradients are taken).

  The second: gradients of an MLP's inside, the cotangent and what is made of
  it, in float32, of two states, and of the softmax; with remat the block's own,
  computed again.
  """
  S, D, c = block["positions"], block["width"], block["itemsize"]
  one = block_bytes(dropped=dropped, **block)
  working = S * (2 * 4 * block["mlp"] + 2 * c * D)
  if block["attention"] != "cudnn":
    working += 4 * block["heads"] * S * S
  # What the first block reads, in float32, and its dropout.
  kept = S * D * (4 + dropped)
  if remat:
    return kept + layers * S * D * c, working + one
  return kept + layers * one, working


def head_bytes(
  slots: int, *, width: int, out: int, transforms: int, itemsize: int
) -> int:
  """What a head that predicts at `slots` positions keeps of a pair.

  Its float32 predictions, and three arrays of each of its transforms. While
  its own gradients are taken it is twice that.
  """
  return slots * (4 * out + 3 * transforms * width * itemsize)


def resnet_bytes(
  *,
  stages: tuple[int, ...],
  width: int,
  image_size: int,
  itemsize: int,
  norm: str,
) -> tuple[int, int]:
  """(kept, beside it while gradients are taken) of an image in a ResNet.

  Of every convolution its output, in float32 as the norm computes, what the
  norm and the ReLU make of it, and with norm="group" what lies between: the
  statistics are each image's own. Of the stem its output alone, from which
  the max-pool's operands are made again.
  """
  side = -(-image_size // 2)
  stem = side * side * width
  sizes = []
  side = -(-side // 2)  # max-pool
  channels = width
  for i, blocks in enumerate(stages):
    inner, out = width * 2**i, 4 * width * 2**i
    for j in range(blocks):
      sizes.append(side * side * inner)
      side = -(-side // 2) if i > 0 and j == 0 else side
      sizes += [side * side * inner, side * side * out]
      if channels != out:
        sizes.append(side * side * out)
      channels = out
  each = {"batch": 4, "group": 8}[norm] + itemsize
  return sum(sizes) * each + stem * 4, max(stem, *sizes) * 4 * 2
