"""Looks random keys up by step and purpose, so that none is carried along."""

import zlib

import jax


def key_for(root, step, purpose: str):
  """The key for one purpose ("mask/words") at one step.

  Keys of other purposes don't change when one is added or removed. `root` is
  a key, `step` an int or an int32 scalar.
  """
  return jax.random.fold_in(
    jax.random.fold_in(root, step), zlib.crc32(purpose.encode())
  )
