"""Prints how many copies of a data set's images are found, and false ones.

python docs/data/copies_found.py DATA
"""

import argparse
import itertools

import cv2
import numpy as np
import simplejpeg

import item_jax
from item_jax.data.copies import find_copies, sign

SAVED = ((1.0, 50), (1.0, 20), (0.5, 90), (0.5, 50), (0.25, 90), (0.25, 50))


def save_again(jpeg: bytes, *, scale: float, quality: int) -> bytes:
  pixels = simplejpeg.decode_jpeg(jpeg)
  size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
  small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
  return simplejpeg.encode_jpeg(small, quality=quality)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("data", help="from item-jax prepare")
  dataset = item_jax.open_dataset(parser.parse_args().data)
  records = itertools.chain(*map(dataset.source, dataset.sizes))
  jpegs = list(dict.fromkeys(r.image for r in records if r.image))
  signs = sign(jpegs)
  chosen = np.random.default_rng(0).permutation(len(jpegs))[:1000]
  for scale, quality in SAVED:
    again = sign(
      save_again(jpegs[n], scale=scale, quality=quality) for n in chosen
    )
    # Of each with its original alone: another image is not to help.
    found = [
      next(find_copies(one[None], signs[n][None])) == 0
      for one, n in zip(again, chosen, strict=True)
    ]
    print(f"side x {scale}, quality {quality}: {np.mean(found):.1%} found")
  # The first of all that it is called a copy of, and the last: else itself.
  own, count = np.arange(len(signs)), len(signs)
  first = np.fromiter(find_copies(signs, signs), int)
  last = count - 1 - np.fromiter(find_copies(signs, signs[::-1]), int)
  false = np.count_nonzero((first != own) | (last != own))
  print(f"{false} of {count} images are called copies of another one")


if __name__ == "__main__":
  main()
