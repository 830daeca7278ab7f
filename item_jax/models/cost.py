"""Counts the work of a network: its sizes in, floating-point operations out."""


def train_flops_per_sample(
  *,
  layers: int,
  width: int,
  mlp: int,
  num_patches: int,
  patch_pixels: int,
  title_places: int,
  word_slots: int,
  patch_slots: int,
  words: int,
) -> float:
  """Forward and backward FLOPs of one pair; a multiply-add counts as two.

  3 x forward: the backward pass computes gradients of inputs and of weights.
  Recomputation (remat) is not counted: it is cost, not work.
  """
  S = 1 + num_patches + title_places
  D = width
  projections = 2 * S * (4 * D * D + 2 * D * mlp)
  scores = 4 * S * S * D
  encoder = layers * (projections + scores)
  patches_in = 2 * num_patches * patch_pixels * D
  # Both word heads: one or two D x D transforms, then the tied decoder.
  word_heads = word_slots * (3 * 2 * D * D + 2 * 2 * D * words)
  patch_heads = patch_slots * (3 * 2 * D * D + 2 * 2 * D * patch_pixels)
  pair_heads = 3 * 2 * D * D  # [CLS] into the two global heads, the pooler
  return 3.0 * (encoder + patches_in + word_heads + patch_heads + pair_heads)


def embed_flops_per_sample(
  *,
  layers: int,
  width: int,
  mlp: int,
  num_patches: int,
  patch_pixels: int,
  title_places: int,
) -> float:
  """FLOPs of one embedding: the encoder forward, no heads."""
  return (
    train_flops_per_sample(
      layers=layers,
      width=width,
      mlp=mlp,
      num_patches=num_patches,
      patch_pixels=patch_pixels,
      title_places=title_places,
      word_slots=0,
      patch_slots=0,
      words=0,
    )
    / 3.0
  )


# Dense bfloat16 FLOP/s by the makers' datasheets; the first whose name is
# part of jax's device_kind.
_PEAKS = (
  ("H200", 989e12),
  ("H100", 989e12),
  ("GH200", 989e12),
  ("B200", 2250e12),
  ("A100", 312e12),
  ("L40S", 362e12),
  ("L4", 121e12),
  ("V100", 125e12),
  ("TPU v6", 918e12),
  ("TPU v5p", 459e12),
  ("TPU v5", 197e12),
  ("TPU v4", 275e12),
)


def peak_flops(device_kind: str) -> float | None:
  """The device's peak, None where it is not known."""
  for name, peak in _PEAKS:
    if name.lower() in device_kind.lower():
      return peak
  return None
