"""Checks that a data set opens, and how quickly images are decoded here."""

import time
from pathlib import Path

import cv2
import numpy as np

from item_jax.data import images
from item_jax.data.records import Dataset, open_dataset
from item_jax.data.tokenizer import Tokenizer, load_tokenizer
from item_jax.data.unreadable import UNREADABLE
from item_jax.diagnostics.doctor import BAD, OK, WARN, Finding
from item_jax.errors import UserError

_SECONDS = 0.5
_SLOW = 300  # images a second on a core; a tenth of what is usual


def decode_rate(size: int = 224) -> Finding:
  """Times the decoding of an image that is drawn here."""
  rng = np.random.default_rng(0)
  pixels = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (400, 300))
  kept, jpeg = cv2.imencode(".jpg", pixels)
  assert kept
  return _finding("decoding", [images.store_jpeg(jpeg.tobytes())], size)


def decode_rate_of(store: Dataset, size: int = 224) -> Finding:
  """Times the decoding of a data set's first images."""
  what, stored = "decoding its images", []
  try:
    for split in store.sizes:
      source = store.source(split)
      stored += [source[i].image for i in range(min(len(source), 64))]
    stored = [image for image in stored if image]
    if not stored:
      return Finding(OK, what, "it begins with none")
    return _finding(what, stored, size)
  except UNREADABLE as error:  # a run tolerates some
    return Finding(WARN, what, str(error))


def open_data(
  path: Path, tokenizer_path: str = ""
) -> tuple[Dataset | None, Tokenizer | None, Finding]:
  """Opens a data set and a tokenizer; None where that is not possible.

  Args:
    tokenizer_path: of another one than the data set's own.
  """
  try:
    store = open_dataset(path)
    own = store.path / "tokenizer.json"
    tokenizer = load_tokenizer(tokenizer_path or own)
  except (UserError, FileNotFoundError) as error:
    return None, None, Finding(BAD, "data", str(error))
  rows = ", ".join(f"{n:,} {split}" for split, n in store.sizes.items())
  return (
    store,
    tokenizer,
    Finding(OK, "data", f"{path}: {rows}, {tokenizer.size} tokens"),
  )


def _finding(what: str, stored: list[bytes], size: int) -> Finding:
  begin, done = time.perf_counter(), 0
  while time.perf_counter() - begin < _SECONDS:
    images.load_square(stored[done % len(stored)], size)
    done += 1
  rate = done / (time.perf_counter() - begin)
  return Finding(
    OK if rate >= _SLOW else WARN,
    what,
    f"{rate:,.0f} images/s a core at {size} pixels",
  )
