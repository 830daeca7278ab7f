"""Cuts photos into patches and back: pixels in, rows of pixels out."""

import jax.numpy as jnp


def normalise(image_BHWC):
  """uint8 [B,H,W,3] to float32 in [-1, 1]."""
  return image_BHWC.astype(jnp.float32) / 127.5 - 1.0


def to_patches(image_BHWC, patch: int):
  """[B,H,W,C] to [B,N,P]: patches row by row, P = patch * patch * C."""
  B, H, W, C = image_BHWC.shape
  rows, columns = H // patch, W // patch
  x = image_BHWC.reshape(B, rows, patch, columns, patch, C)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(B, rows * columns, patch * patch * C)


def from_patches(patches_BNP, patch: int):
  """The inverse of `to_patches` for square images: [B,N,P] to [B,H,W,C]."""
  B, N, P = patches_BNP.shape
  side = round(N**0.5)
  C = P // (patch * patch)
  x = patches_BNP.reshape(B, side, side, patch, patch, C)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(B, side * patch, side * patch, C)
