"""Changes images as sellers, cameras and websites do, at five strengths."""

import hashlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from item_jax.data.images import BadImage, encode

_SAME = 8  # of 255: neighbours that differ by less are one background
_MARK, _OPACITY = "SAMPLE", 160  # of 255


def change_image(
  jpeg: bytes, name: str, strength: int, *, listing: str, seed: int = 0
) -> bytes:
  """Changes a stored image, and stores it again as `prepare` does.

  Args:
    jpeg: of a data set; b"" stays so.
    name: of `IMAGE_CHANGES`.
    strength: 1 to 5; at 0 the bytes are returned as they are.
    listing: its id. With the seed it decides all that is drawn, the same at
      each strength.

  Raises:
    BadImage: the JPEG is broken.
  """
  if not strength or not jpeg:
    return jpeg
  image = Image.fromarray(decode(jpeg))
  change = IMAGE_CHANGES[name]
  random = draw(name, listing, seed)
  changed = change.apply(image, change.strengths[strength - 1], random)
  return encode(np.ascontiguousarray(changed))


def decode(jpeg: bytes) -> np.ndarray:
  """Decodes a stored image at its size, uint8 [H, W, 3].

  Raises:
    BadImage: the JPEG is broken.
  """
  try:
    return simplejpeg.decode_jpeg(jpeg)
  except ValueError as error:
    raise BadImage(f"the JPEG is broken: {error}") from error


def draw(name: str, listing: str, seed: int) -> np.random.Generator:
  """What is drawn for a listing, whatever else is changed."""
  key = hashlib.sha256("\n".join((str(seed), name, listing)).encode()).digest()
  return np.random.default_rng(int.from_bytes(key))


def _colour(image: Image.Image, by: float, random) -> Image.Image:
  """Brightness, contrast and saturation, each up or down."""
  for enhance, sign in zip(
    (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color),
    random.choice([-1, 1], 3).tolist(),
    strict=True,
  ):
    image = enhance(image).enhance(1 + sign * by)
  return image


def _crop(image: Image.Image, kept: float, random) -> Image.Image:
  """A part of each side, anywhere."""
  width, height = (max(1, round(side * kept)) for side in image.size)
  left, top = random.random(2)
  x = round(left * (image.width - width))
  y = round(top * (image.height - height))
  return image.crop((x, y, x + width, y + height))


def _rotation(image: Image.Image, degrees: float, random) -> Image.Image:
  """Either way; the corners are white, and nothing is cut off."""
  return image.rotate(
    float(random.choice([-1, 1])) * degrees,
    Image.Resampling.BICUBIC,
    expand=True,
    fillcolor="white",
  )


def _blur(image: Image.Image, radius: float, random) -> Image.Image:
  """A Gaussian whose deviation is this part of the shorter side."""
  return image.filter(ImageFilter.GaussianBlur(radius * min(image.size)))


def _jpeg(image: Image.Image, quality: float, random) -> Image.Image:
  file = io.BytesIO()
  image.save(file, "JPEG", quality=int(quality))
  return Image.open(file)


def _background(image: Image.Image, opacity: float, random) -> Image.Image:
  """Another colour over what is alike from the corners on."""
  pixels_HWC = np.array(image)
  height, width = pixels_HWC.shape[:2]
  filled_HW = np.zeros((height + 2, width + 2), np.uint8)  # as OpenCV has it
  near, how = (_SAME,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY
  for x in (0, width - 1):
    for y in (0, height - 1):
      if not filled_HW[y + 1, x + 1]:
        cv2.floodFill(pixels_HWC, filled_HW, (x, y), 0, near, near, how)
  around_HW = filled_HW[1:-1, 1:-1].astype(bool)
  colour_C = random.integers(0, 256, 3)
  mixed = (1 - opacity) * pixels_HWC[around_HW] + opacity * colour_C
  pixels_HWC[around_HW] = mixed.round().astype(np.uint8)
  return Image.fromarray(pixels_HWC)


def _watermark(image: Image.Image, wide: float, random) -> Image.Image:
  """Words of this part of the width, half transparent, anywhere."""
  size = 4.0
  font = ImageFont.load_default(size)
  length = font.getlength(_MARK)
  font = ImageFont.load_default(max(size, size * wide * image.width / length))
  layer = Image.new("RGBA", image.size)
  left, top, right, bottom = font.getbbox(_MARK)
  x, y = random.random(2)
  ImageDraw.Draw(layer).text(
    (
      x * max(0, image.width - right) - left,
      y * max(0, image.height - bottom) - top,
    ),
    _MARK,
    font=font,
    fill=(255, 255, 255, _OPACITY),
    stroke_width=1,
    stroke_fill=(0, 0, 0, _OPACITY),
  )
  return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


class Change(NamedTuple):
  """A change of an image or of words, and what it takes at strengths 1 to 5."""

  apply: Callable[[Any, float, Any], Any]
  strengths: tuple[float, ...]


IMAGE_CHANGES = {
  "colour": Change(_colour, (0.1, 0.2, 0.3, 0.45, 0.6)),
  "crop": Change(_crop, (0.9, 0.8, 0.7, 0.6, 0.5)),
  "rotation": Change(_rotation, (5, 10, 20, 45, 90)),
  "blur": Change(_blur, (0.005, 0.01, 0.02, 0.04, 0.08)),
  "jpeg": Change(_jpeg, (50, 25, 12, 6, 3)),
  "background": Change(_background, (0.2, 0.4, 0.6, 0.8, 1.0)),
  "watermark": Change(_watermark, (0.2, 0.35, 0.5, 0.7, 0.9)),
}
