"""Counts the floating-point operations of a network by its sizes."""

import re


def encoder_flops(
  layers: int, *, positions: int, width: int, mlp: int
) -> float:
  """Forward FLOPs of a transformer's blocks on one sequence.

  A multiply-add counts as two. Causal attention is counted whole: half of its
  products are thrown away.
  """
  projections = 2 * positions * (4 * width * width + 2 * width * mlp)
  return float(layers * (projections + 4 * positions * positions * width))


def item_head_flops(
  *,
  width: int,
  patch_pixels: int,
  masked_tokens: int,
  masked_patches: int,
  vocab_size: int,
) -> dict[str, float]:
  """Forward FLOPs of ITEm's five heads on one pair, by loss."""
  D = width
  square = 2 * D * D
  # A transform of a position, or two of [CLS] and a position; the decoder.
  return {
    "itm": square,  # the pooler
    "mlm": token_head_flops(masked_tokens, width=D, vocab_size=vocab_size),
    "gmlm": square + masked_tokens * (2 * square + 2 * D * vocab_size),
    "mim": masked_patches * (square + 2 * D * patch_pixels),
    "gmim": square + masked_patches * (2 * square + 2 * D * patch_pixels),
  }


def token_head_flops(
  masked_tokens: int, *, width: int, vocab_size: int
) -> float:
  """Forward FLOPs of predicting the masked tokens of one title."""
  return float(masked_tokens * (2 * width * width + 2 * width * vocab_size))


def resnet_flops(
  *, stages: tuple[int, ...], width: int, image_size: int
) -> float:
  """Forward FLOPs of one image, convolutions only; training is 3 x.

  Positions of the padding are counted too, as the usual 4.1 billion
  multiply-adds of ResNet50 at 224 pixels do.
  """

  def conv(side, size, channels_in, channels_out):
    return 2 * side * side * size * size * channels_in * channels_out

  side = -(-image_size // 2)
  total = conv(side, 7, 3, width)
  side = -(-side // 2)  # max-pool
  channels = width
  for i, blocks in enumerate(stages):
    inner = width * 2**i
    out = 4 * inner
    for j in range(blocks):
      total += conv(side, 1, channels, inner)
      side = -(-side // 2) if i > 0 and j == 0 else side
      total += conv(side, 3, inner, inner) + conv(side, 1, inner, out)
      if j == 0:
        total += conv(side, 1, channels, out)  # shortcut
      channels = out
  return float(total)


# Dense bfloat16 FLOP/s of a device by the makers' datasheets; the first whose
# name (a pattern) is among the words of jax's device_kind.
_PEAKS = (
  ("H200 NVL", 835e12),
  ("H200", 989e12),
  ("H100 PCIe", 756e12),
  ("H100 NVL", 835e12),
  ("H100", 989e12),
  ("GH200", 989e12),
  ("GB200", 2500e12),
  ("B200", 2250e12),
  ("A100", 312e12),
  ("L40S", 362e12),
  ("L40", 181e12),
  ("L4", 121e12),
  ("V100", 15.7e12),  # its matrix units know no bfloat16: float32's
  ("TPU7x", 1153e12),  # two devices a chip
  ("TPU v6", 918e12),
  ("TPU v5 lite", 197e12),
  ("TPU v5e", 197e12),
  ("TPU v5p?", 459e12),  # v5p, as jax calls it too
  ("TPU v4", 275e12),
)


_FLOAT32_PEAKS = (("V100", 15.7e12),)


def peak_flops(device_kind: str, dtype: str) -> float | None:
  """The device's peak in `model.dtype`, None where it is not known."""
  for name, peak in _FLOAT32_PEAKS if dtype == "float32" else _PEAKS:
    if re.search(rf"\b{name}\b", device_kind, re.IGNORECASE):
      return peak
  return None
