"""Finds copies of images among others, however they were saved.

A copy that was encoded anew, or shrunk, has other bytes. Two images are called
copies where both of these agree: which low frequencies of their brightness lie
above the median (a perceptual hash, as pHash and PDQ), and their colours at
8 x 8 pixels. Alone the hash takes dark trousers before a white wall for each
other. Cropped, mirrored and padded images are not found.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import simplejpeg

from item_jax.workers import count_cores

BITS = 255  # that a hash has: 16 x 16 frequencies without the mean
# Of copies at half the size and JPEG quality 50, 98 % and more in four real
# catalogues have these; docs/data/leaks.md has the rates.
MOST_BITS = 40  # that differ
MOST_COLOUR = 6.0  # of 255, the root of the mean square

_SIDE = 32  # pixels of an image that is hashed
_BLOCK = 4096  # images that are compared with as many others at once
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# Rows of the orthonormal DCT-II of 32 values: its 16 lowest frequencies.
_WAVES = np.sqrt(2 / _SIDE) * np.cos(
  np.pi * np.outer(np.arange(16), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE)
)


def sign(jpegs: Iterable[bytes]) -> np.ndarray:
  """Computes what `find_copies` compares, on all cores.

  Args:
    jpegs: as a data set stores them.

  Returns:
    uint8 [N, 224], a row an image: 32 of the hash, 192 of the colours.
  """
  with ThreadPoolExecutor(count_cores()) as pool:
    rows = list(pool.map(_sign, jpegs))
  return np.stack(rows) if rows else np.zeros((0, 224), np.uint8)


def _sign(jpeg: bytes) -> np.ndarray:
  # At an eighth or so of its size: libjpeg averages, and takes a tenth of the
  # time.
  pixels = simplejpeg.decode_jpeg(
    jpeg, "RGB", min_height=_SIDE, min_width=_SIDE
  )
  small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
  low = (_WAVES @ (small @ _GREY) @ _WAVES.T).ravel()[1:]
  colours = small.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
  hashed = np.packbits(low > np.median(low))
  return np.concatenate([hashed, np.round(colours).astype(np.uint8).ravel()])


def find_copies(signs: np.ndarray, others: np.ndarray) -> Iterator[int]:
  """Yields of each of `signs` the first of `others` it is a copy of, or -1."""
  for start in range(0, len(signs), _BLOCK):
    block = signs[start : start + _BLOCK]
    found = np.full(len(block), -1)
    hashes, colours = _unpack(block)
    for first in range(0, len(others), _BLOCK):
      theirs = others[first : first + _BLOCK]
      theirs_hashes, theirs_colours = _unpack(theirs)
      # Of +1 and -1: the product is BITS less two for each that differs.
      near = hashes @ theirs_hashes.T >= BITS - 2 * MOST_BITS
      ours, which = np.nonzero(near & (found < 0)[:, None])
      apart = ((colours[ours] - theirs_colours[which]) ** 2).mean(axis=1)
      alike = apart <= MOST_COLOUR**2
      # In reverse, so that the first stays.
      found[ours[alike][::-1]] = first + which[alike][::-1]
    yield from found.tolist()


def _unpack(signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  bits = np.unpackbits(signs[:, :32], axis=1)[:, :BITS]
  return bits.astype(np.float32) * 2 - 1, signs[:, 32:].astype(np.float32)
