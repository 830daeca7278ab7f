"""Normalises images and cuts them into patches."""

import jax.numpy as jnp

from item_jax.errors import UserError

# Mean and deviation of red, green and blue as shares of 255: those the weights
# of torchvision's ResNets, of CLIP, and of EfficientNet-Lite, were trained
# with.
PIXEL_STATISTICS = {
  "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
  "clip": (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
  ),
  "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}
PIXELS = ("half", *PIXEL_STATISTICS)
GREY = 127  # of what shows nothing


def normalise(image_BHWC, pixels: str = "half"):
  """uint8 [B,H,W,3] to float32.

  Args:
    pixels: "half" to [-1, 1], of any shape; "imagenet", "clip" and "lite" by
      the mean and deviation of each colour.
  """
  if pixels not in PIXELS:
    raise UserError(f"pixels={pixels!r}: known are {', '.join(PIXELS)}")
  image_BHWC = image_BHWC.astype(jnp.float32)
  if pixels == "half":
    return image_BHWC / 127.5 - 1.0
  mean_C, std_C = (jnp.array(x, jnp.float32) for x in PIXEL_STATISTICS[pixels])
  return (image_BHWC / 255.0 - mean_C) / std_C


def to_patches(image_BHWC, patch: int):
  """[B,H,W,C] to [B,N,P]: patches row by row, P = patch * patch * C."""
  B, H, W, C = image_BHWC.shape
  rows, columns = H // patch, W // patch
  # A patch's row of pixels as one axis: a TPU is slow where the last axis has
  # three numbers.
  x = image_BHWC.reshape(B, rows, patch, columns, patch * C)
  x = x.transpose(0, 1, 3, 2, 4)
  return x.reshape(B, rows * columns, patch * patch * C)


def normalised(image_BHWC, patch: int):
  """Patches of uint8 images, float32 in [-1, 1]: cut first, as bytes."""
  return normalise(to_patches(image_BHWC, patch))


def from_patches(patches_BNP, patch: int):
  """[B,N,P] to square images [B,H,W,C]: what `to_patches` has cut."""
  B, N, P = patches_BNP.shape
  side = round(N**0.5)
  x = patches_BNP.reshape(B, side, side, patch, patch, P // patch**2)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(B, side * patch, side * patch, -1)


def blank(image_BHWC, masked_BN, patch: int):
  """uint8 images that are grey where patches, row by row, are masked."""
  B, H, W, _ = image_BHWC.shape
  masked_BHW = masked_BN.reshape(B, H // patch, W // patch)
  masked_BHW = masked_BHW.repeat(patch, axis=1).repeat(patch, axis=2)
  return jnp.where(masked_BHW[..., None], jnp.uint8(GREY), image_BHWC)
