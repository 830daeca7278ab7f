"""Counts the work of a network: its sizes in, floating-point operations out."""

import re
from collections.abc import Collection


def train_flops_per_sample(
  *,
  layers: int,
  width: int,
  mlp: int,
  num_patches: int,
  patch_pixels: int,
  max_title_tokens: int,
  max_masked_tokens: int,
  num_masked_patches: int,
  vocab_size: int,
  trained: Collection[str] | None = None,
) -> float:
  """Forward and backward FLOPs of one pair; a multiply-add counts as two.

  3 x forward: the backward pass computes gradients of inputs and of weights.
  Recomputation (remat) is not counted: it is cost, not work.

  Args:
    trained: those of the five whose weight is not 0 (None: all); the others
      are measured, and have no backward pass.
  """
  D = width
  encoder = _encoder(
    layers, places=1 + num_patches + max_title_tokens, width=D, mlp=mlp
  )
  patches_in = 2 * num_patches * patch_pixels * D
  square = 2 * D * D
  # A transform of a place, or two of [CLS] and a place; then the decoder.
  heads = {
    "itm": square,  # the pooler
    "mlm": max_masked_tokens * (square + 2 * D * vocab_size),
    "gmlm": square + max_masked_tokens * (2 * square + 2 * D * vocab_size),
    "mim": num_masked_patches * (square + 2 * D * patch_pixels),
    "gmim": square + num_masked_patches * (2 * square + 2 * D * patch_pixels),
  }
  backward = [name for name in heads if trained is None or name in trained]
  total = encoder + patches_in + sum(heads.values())
  if backward:
    total += 2 * (encoder + patches_in + sum(heads[name] for name in backward))
  return float(total)


def embed_flops_per_sample(
  *,
  layers: int,
  width: int,
  mlp: int,
  num_patches: int,
  patch_pixels: int,
  max_title_tokens: int,
) -> float:
  """FLOPs of one embedding: the encoder forward, no heads."""
  places = 1 + num_patches + max_title_tokens
  encoder = _encoder(layers, places=places, width=width, mlp=mlp)
  return float(encoder + 2 * num_patches * patch_pixels * width)


def _encoder(layers: int, *, places: int, width: int, mlp: int) -> float:
  """Forward FLOPs of a transformer's blocks on one sequence.

  Causal attention is counted whole: half of its products are thrown away.
  """
  projections = 2 * places * (4 * width * width + 2 * width * mlp)
  return layers * (projections + 4 * places * places * width)


def resnet_flops(
  *, stages: tuple[int, ...], width: int, image_size: int
) -> float:
  """Forward FLOPs of one photo, convolutions alone; training is 3 x.

  Places of the padding are counted too, as the usual 4.1 billion
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


def roberta_flops(
  *,
  layers: int,
  width: int,
  mlp: int,
  max_title_tokens: int,
  max_masked_tokens: int = 0,
  vocab_size: int = 0,
) -> float:
  """Forward FLOPs of one title; training is 3 x.

  Args:
    max_masked_tokens: positions whose token is predicted; 0 for an
      embedding.
  """
  D = width
  head = max_masked_tokens * (2 * D * D + 2 * D * vocab_size)
  return float(
    _encoder(layers, places=1 + max_title_tokens, width=D, mlp=mlp) + head
  )


def clip_flops(
  *,
  layers: int,
  width: int,
  mlp: int,
  num_patches: int,
  patch_pixels: int,
  text_layers: int,
  text_width: int,
  text_mlp: int,
  max_title_tokens: int,
  projection: int,
) -> float:
  """Forward FLOPs of one pair through both towers; training is 3 x.

  A pair's cosines with the batch, 4 * projection * batch size, are left out:
  a ten-thousandth of the towers at ViT-B and 512 pairs.
  """
  image = _encoder(layers, places=1 + num_patches, width=width, mlp=mlp)
  title = _encoder(
    text_layers, places=1 + max_title_tokens, width=text_width, mlp=text_mlp
  )
  patches_in = 2 * num_patches * patch_pixels * width
  projections = 2 * projection * (width + text_width)
  return float(image + title + patches_in + projections)


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
