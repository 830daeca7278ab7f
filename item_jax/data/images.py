"""Shrinks image files to stored JPEGs, and decodes those to squares."""

import io
import re
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from item_jax.data.file_kinds import name_kind
from item_jax.data.square import place_in_square
from item_jax.process_wide import no_warnings

# Named in every data set and every checkpoint: to be counted up whenever the
# pixels that this module makes change.
PREPROCESSING = "short256-jpeg90-white-pad/1"

SHORT_SIDE = 256  # pixels
LONG_SIDE = 2048  # pixels; a panorama's short side is smaller then
QUALITY = 90
MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP")

_ORIENTATION = 0x0112  # the EXIF tag
# libjpeg's messages about pixels that it had to guess. Extra bytes are padding,
# except within scans, and between them in progressive files.
_CORRUPT = re.compile(
  "premature end of data|bad .* code|found marker|inconsistent progression"
  "|extraneous bytes before marker 0xd[0-7]",
  re.IGNORECASE,
)
_BETWEEN_SCANS = re.compile("extraneous bytes before marker 0x(c4|da)")
# What Pillow's parsers raise on broken files, found by trying broken files.
_BROKEN = (
  OSError,
  SyntaxError,
  ValueError,
  EOFError,
  IndexError,
  KeyError,
  TypeError,
  OverflowError,
  ZeroDivisionError,
  struct.error,
  zlib.error,
)


class BadImage(ValueError):  # noqa: N818 - a reason, not a fault
  """An image cannot be used; the message is the reason."""


def store_jpeg(data: bytes) -> bytes:
  """Shrinks one image file to the JPEG that a data set stores.

  Args:
    data: a JPEG, PNG or WebP file's bytes, in any colour mode.

  Returns:
    A JPEG in RGB, upright, short side 256 pixels or less (images are never
    enlarged), without any metadata. Colour profiles are not applied.

  Raises:
    BadImage: not such a file, broken, cut short, or too large to decode.
  """
  return encode(shrink(data))


def shrink(data: bytes) -> np.ndarray:
  """Decodes an image file to the pixels that `store_jpeg` encodes.

  Returns:
    uint8 [height, width, 3].

  Raises:
    BadImage: as `store_jpeg`.
  """
  with no_warnings:  # about metadata; sizes are checked
    return _reduce(*_decode(data))


def store_image(image: Image.Image) -> bytes:
  """Shrinks a Pillow image to the JPEG that a data set stores.

  Args:
    image: of any mode; values of the modes I and F as `to_8_bits` takes them.
      It is turned upright by its EXIF orientation.

  Returns:
    A JPEG, as `store_jpeg`.

  Raises:
    BadImage: its file is broken, it has no pixels or too many, or its values
      are of no known scale.
  """
  with no_warnings:
    _check_size(image)
    pixels = _reduce(*_load(image))
  return encode(pixels)


def _reduce(pixels, orientation):
  """Resizes pixels to the stored size and turns them upright."""
  pixels = _resize(pixels, _stored_size(*pixels.shape[:2]))
  return _upright(pixels, orientation)


def encode(pixels: np.ndarray) -> bytes:
  """Encodes the pixels of an image as the JPEG that a data set stores."""
  return simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420")


def load_square(jpeg: bytes, size: int) -> np.ndarray:
  """Decodes a stored JPEG into a square.

  The aspect ratio is kept: the long side gets `size` pixels, the image is
  centred, the rest is white.

  Args:
    jpeg: a JPEG in RGB.
    size: side of the square in pixels.

  Returns:
    uint8 [size, size, 3].

  Raises:
    BadImage: the bytes are no JPEG, broken, or state too many pixels.
  """
  try:
    height, width = map(int, simplejpeg.decode_jpeg_header(jpeg)[:2])
    if height * width > MAX_PIXELS:
      raise ValueError(f"it states {height} x {width} pixels")
    long_side = max(height, width)
    pixels = _decode_jpeg(jpeg, height, width, long_side / size)
  except ValueError as error:
    raise BadImage(f"the JPEG is broken: {error}") from error
  top, left, high, wide = place_in_square(height, width, size)
  pixels = _resize(pixels, (high, wide))
  if high == wide:
    return pixels
  square = np.full((size, size, 3), 255, np.uint8)
  square[top : top + high, left : left + wide] = pixels
  return square


def _decode(data):
  """Decodes a file to pixels (maybe reduced); also returns its orientation."""
  if not data:
    raise BadImage("the image file is empty")
  if len(data) > MAX_BYTES:
    raise BadImage(f"the image file is larger than {MAX_BYTES // 10**6} MB")
  image = _open(data)
  _check_size(image)
  width, height = image.size
  if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
    high, wide = _stored_size(height, width)
    shrink = min(height / high, width / wide)
    try:
      return _decode_jpeg(data, height, width, shrink), _orientation(image)
    except ValueError as error:
      # Also raised for small faults that Pillow rightly ignores.
      if _CORRUPT.search(str(error)) or (
        image.info.get("progressive") and _BETWEEN_SCANS.search(str(error))
      ):
        raise BadImage(f"the image file is broken: {error}") from error
  return _load(image)


def _check_size(image):
  pixels = image.width * image.height
  if not pixels:
    raise BadImage("the image has no pixels")
  if pixels > MAX_PIXELS:
    raise BadImage(f"the image has more than {MAX_PIXELS // 10**6} megapixels")


def _load(image):
  """Decodes an image by Pillow; also returns its orientation."""
  try:
    # Before all else: reading a PNG's metadata loads it too, and a second try
    # does not notice that the file is broken.
    image.load()
    return _rgb(image), _orientation(image)
  except BadImage:
    raise
  except _BROKEN as error:
    raise BadImage(f"the image file is broken or cut short: {error}") from error
  except MemoryError as error:
    raise BadImage("the image takes more memory than there is") from error


def _open(data):
  try:
    return Image.open(io.BytesIO(data), formats=FORMATS)
  except Image.DecompressionBombError as error:
    raise BadImage(
      f"the image has more than {MAX_PIXELS // 10**6} megapixels"
    ) from error
  except _BROKEN as error:
    reason = "the file is no JPEG, PNG or WebP image"
    kind = name_kind(data)
    raise BadImage(f"{reason}: it is {kind}" if kind else reason) from error


def _orientation(image):
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except _BROKEN:
    return 1  # the image is good even where its metadata are not


def _decode_jpeg(data, height, width, shrink):
  """Decodes at 1, 1/2, 1/4 or 1/8: the least that can still be shrunk."""
  # Only these four are quick: libjpeg has no fast transform for the others.
  factor = max(f for f in (1, 2, 4, 8) if f <= max(shrink, 1))
  return simplejpeg.decode_jpeg(
    data,
    "RGB",
    min_height=-(-height // factor),
    min_width=-(-width // factor),
  )


def _stored_size(height, width):
  scale = min(
    1, SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width)
  )
  return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(pixels, size):
  high, wide = size
  height, width = pixels.shape[:2]
  if (height, width) == (high, wide):
    return pixels
  shrink = max(height / high, width / wide)
  if shrink < 1:
    method = cv2.INTER_CUBIC
  elif shrink <= 2:
    # As close to an antialiased bicubic as INTER_AREA is, at a fifth of the
    # time (42.1 and 42.4 dB).
    method = cv2.INTER_LINEAR
  else:
    method = cv2.INTER_AREA
  return cv2.resize(pixels, (wide, high), interpolation=method)


def _rgb(image):
  """Converts any colour mode to uint8 [H, W, 3], transparency over white."""
  if image.mode.startswith("I") or image.mode == "F":
    deep = np.asarray(image)
    grey = to_8_bits(deep, sixteen=image.format == "PNG")
    if "transparency" in image.info:
      grey[deep == image.info["transparency"]] = 255
    return np.repeat(grey[..., None], 3, axis=2)
  if image.mode == "La":  # Pillow converts it to nothing else
    image = image.convert("LA")
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  return np.asarray(image.convert("RGB"))


def to_8_bits(values: np.ndarray, *, sixteen: bool = False) -> np.ndarray:
  """Scales an image's values to 8 bits.

  The dtype does not tell the scale: Pillow and numpy copy 0 to 255 into wider
  types as they are. So values up to 255 are taken for 8 bits, and higher ones
  for 16.

  Args:
    values: of any real dtype and any shape, not empty.
    sixteen: whether they have 16 bits, however dark the image is.

  Returns:
    uint8 of the same shape; 65,535 and True become 255.

  Raises:
    BadImage: they fit neither scale, or are fractions of 0 to 1.
  """
  if values.dtype == np.uint8:
    return values
  if values.dtype == bool:
    return values * np.uint8(255)
  low, high = values.min(), values.max()
  # Values a little above 255 are usually an image of 8 bits after some
  # arithmetic, unless their dtype is made for 16.
  made_for_16 = values.dtype.kind == "u" and values.itemsize == 2
  least = 0 if sixteen or made_for_16 else 4096
  to_one = values.dtype.kind == "f" and 0 < high <= 1
  if low >= 0 and not to_one:
    if high <= 255 and not sixteen:
      return values.astype(np.uint8)
    if least <= high <= 65535:
      return (values / 257 + 0.5).astype(np.uint8)
  raise BadImage(
    f"its values go from {low} to {high}; expected 0 to 255, or 0 to"
    " 65,535 in 16 bits"
  )


def _upright(pixels, orientation):
  """Turns pixels upright by their EXIF orientation (1 to 8)."""
  if orientation in (5, 6, 7, 8):
    pixels = pixels.transpose(1, 0, 2)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return np.ascontiguousarray(pixels)
