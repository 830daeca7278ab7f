"""Makes what a page holds of images: thumbnails as JPEG, figures as SVG."""

import base64
import html
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from item_jax.data.records import BadRecord, Dataset
from item_jax.files import whole_file

SIDE = 80  # pixels of a thumbnail's longer side
_QUALITY = 70
_NAMESPACES = re.compile(r' xmlns(?::\w+)?="[^"]*"')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def read_thumbnails(
  dataset: Dataset, split: str, rows: Iterable[int]
) -> dict[int, str]:
  """Makes {row: thumbnail as a data: address}, as `read_small` makes them."""
  found = read_small(dataset, split, rows)
  return {row: _address(jpeg) for row, jpeg in found.items()}


def read_small(
  dataset: Dataset, split: str, rows: Iterable[int], *, side: int = SIDE
) -> dict[int, bytes]:
  """Makes {row: JPEG, shrunk}, of those that have an image.

  An image, or a record, that cannot be read has none.
  """
  source = dataset.source(split)
  found = {}
  for row in rows:
    try:
      image = source[row].image
      jpeg = shrink(image, side=side) if image else b""
    except (BadRecord, ValueError):  # simplejpeg's, of a broken JPEG
      continue
    if jpeg:
      found[row] = jpeg
  return found


def _address(jpeg: bytes) -> str:
  return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def to_address(image_HWC: np.ndarray) -> str:
  """Returns an image, uint8 [H,W,3], as a data: address: its colours sharp."""
  return _address(
    simplejpeg.encode_jpeg(
      np.ascontiguousarray(image_HWC), quality=92, colorsubsampling="444"
    )
  )


def lit(image_HWC: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
  """Leaves the patch with the largest weight as it is, and darkens others.

  Args:
    image_HWC: uint8, of N patches row by row.
    weights_N: what has 0 keeps a quarter of its light.
  """
  side = round(len(weights_N) ** 0.5)
  light = weights_N / max(weights_N.max(), np.finfo(np.float32).tiny)
  light_HW = cv2.resize(
    light.reshape(side, side).astype(np.float32),
    image_HWC.shape[1::-1],
    interpolation=cv2.INTER_NEAREST,
  )
  return np.round(image_HWC * (0.25 + 0.75 * light_HW[..., None])).astype(
    np.uint8
  )


def shrink(jpeg: bytes, *, side: int = SIDE) -> bytes:
  """Shrinks a JPEG until its longer side is `side`; a smaller one stays.

  Raises:
    ValueError: it is broken.
  """
  # Decoded at a fraction of its size, where that is large enough.
  pixels_HWC = simplejpeg.decode_jpeg(jpeg, min_height=side, min_width=side)
  height, width = pixels_HWC.shape[:2]
  factor = side / max(height, width)
  if factor < 1:
    size = max(1, round(width * factor)), max(1, round(height * factor))
    pixels_HWC = cv2.resize(pixels_HWC, size, interpolation=cv2.INTER_AREA)
  return simplejpeg.encode_jpeg(pixels_HWC, quality=_QUALITY)


def to_svg(figure: Any) -> str:
  """Returns a matplotlib figure as a file of SVG: text stays text."""
  import matplotlib

  file = io.StringIO()
  with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "item"}):
    figure.savefig(file, format="svg", metadata={"Date": None})
  return file.getvalue()


def write_pictures(
  folder: str | os.PathLike, name: str, figure: Any
) -> list[Path]:
  """Writes a matplotlib figure as NAME.png and NAME.svg; returns both."""
  png, svg = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
  png.parent.mkdir(parents=True, exist_ok=True)
  with whole_file(png) as file:
    figure.savefig(file, dpi=200, format="png")
  with whole_file(svg, text=True) as file:
    file.write(to_svg(figure))
  return [png, svg]


def inline_svg(figure: Any, label: str) -> str:
  """Returns a figure as SVG that stands in HTML, and names no address."""
  for artist in figure.findobj():
    artist.set_clip_on(False)  # a clip would be a reference
  _, start, image = to_svg(figure).partition("<svg")
  head, end, body = image.partition(">")
  head = _NAMESPACES.sub("", head)  # HTML knows them
  named = f' role="img" aria-label="{html.escape(label)}"'
  return start + named + head + end + _METADATA.sub("", body)
