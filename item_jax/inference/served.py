"""Embeds images and titles with the model in this folder, without item_jax.

It needs jax with flatbuffers, numpy, opencv-python-headless, pillow, simplejpeg
and tokenizers.

    model = Model("FOLDER")
    vectors = model.embed(images=["mug.jpg", None], titles=["red mug", "vase"])
"""

import io
import json
import struct
import unicodedata
import zlib
from pathlib import Path

import cv2
import jax
import numpy as np
import simplejpeg
from jax import export
from PIL import Image
from tokenizers import Tokenizer

# What Pillow raises on files that are broken.
BROKEN = OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError
BROKEN += ArithmeticError, struct.error, zlib.error
BLANK = "\u115f\u1160\u3164\uffa0\u2800\ufffd"  # letters that show nothing


class Model:
  def __init__(self, folder):
    folder = Path(folder)
    self.settings = json.loads((folder / "preprocessing.json").read_text())
    program = bytearray((folder / "embedder.stablehlo").read_bytes())
    self.run = jax.jit(export.deserialize(program).call)
    with np.load(folder / "weights.npz", allow_pickle=False) as weights:
      self.weights = jax.device_put(dict(weights))
    self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    self.tokenizer.no_truncation()
    self.tokenizer.no_padding()
    self.tokenizer.encode_special_tokens = True  # "[SEP]" in a title is text

  def embed(self, images=None, titles=None):
    """Embeds paths or bytes of image files, and texts.

    None, NaN and "" are missing. One path and one text are a listing; a side
    that is left out is missing.

    Returns:
      float32 [N, D], rows of length 1.

    Raises:
      ValueError: neither is given, or not as many of one as of the other; a
        row's image cannot be read, or is none, or its title is none.
    """
    given = [listed(x) for x in (images, titles) if x is not None]
    if not given:
      raise ValueError("expected images, titles or both")
    images = given[0] if images is not None else [None] * len(given[0])
    titles = given[-1] if titles is not None else [None] * len(images)
    if len(images) != len(titles):
      raise ValueError(f"{len(images)} images and {len(titles)} titles")
    s, rows = self.settings, len(images)
    # Each size is compiled once, in seconds: there are powers of two alone.
    full = 1 << max(0, rows - 1).bit_length()
    image_BHWC = np.zeros((full, s["image_size"], s["image_size"], 3), np.uint8)
    tokens_BT = np.full((full, s["max_title_tokens"]), s["pad"], np.int32)
    has_image_B = np.zeros(full, bool)
    pairs = enumerate(zip(images, titles, strict=True))
    for row, (image, title) in pairs:
      if image is not None:
        try:
          image_BHWC[row] = self.square(self.store(image))
        except BROKEN as error:
          raise ValueError(f"image of row {row}: {error}") from error
        has_image_B[row] = True
      if not isinstance(title, str | None):
        raise ValueError(f"title of row {row}: {type(title).__name__}, no text")
      try:
        ids = self.tokenizer.encode(
          spaced(title or ""), add_special_tokens=False
        ).ids[: s["max_title_tokens"] - 1]
      except UnicodeEncodeError as error:  # of half a character
        raise ValueError(f"title of row {row}: {error}") from error
      if ids:
        tokens_BT[row, : len(ids) + 1] = [*ids, s["sep"]]
    has_title_B = tokens_BT[:, 0] != s["pad"]
    found = self.run(
      self.weights, image_BHWC, tokens_BT, has_image_B, has_title_B
    )
    return np.asarray(found)[:rows]

  def store(self, image):
    """Shrinks an image file to the JPEG that the training data hold."""
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    if not data:
      raise ValueError("the file is empty")
    opened, pixels = Image.open(io.BytesIO(data)), None
    width, height = opened.size
    if opened.format in ("JPEG", "MPO") and opened.mode in ("RGB", "L"):
      try:
        high, wide = self.stored_size(height, width)
        shrink = min(height / high, width / wide)
        pixels = decode(data, height, width, shrink)
      except ValueError:
        pass  # of small faults, which Pillow rightly ignores
    if pixels is None:
      pixels = rgb(opened)
    # Of what was decoded: at a reduced size its shape is a little another.
    pixels = resize(pixels, self.stored_size(*pixels.shape[:2]))
    turned = orientation(opened)
    if turned in (5, 6, 7, 8):
      pixels = pixels.transpose(1, 0, 2)
    if turned in (3, 4, 7, 8):
      pixels = pixels[::-1]
    if turned in (2, 3, 6, 7):
      pixels = pixels[:, ::-1]
    return simplejpeg.encode_jpeg(
      np.ascontiguousarray(pixels),
      quality=self.settings["jpeg_quality"],
      colorsubsampling="420",
    )

  def stored_size(self, height, width):
    s = self.settings
    short, long = sorted((height, width))
    scale = min(1, s["short_side"] / short, s["long_side"] / long)
    return max(1, round(height * scale)), max(1, round(width * scale))

  def square(self, jpeg):
    """Decodes a JPEG into a white square, its long side that of the square."""
    height, width = map(int, simplejpeg.decode_jpeg_header(jpeg)[:2])
    size, long_side = self.settings["image_size"], max(height, width)
    high = max(1, round(height * size / long_side))
    wide = max(1, round(width * size / long_side))
    pixels = resize(decode(jpeg, height, width, long_side / size), (high, wide))
    found = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - high) // 2, (size - wide) // 2
    found[top : top + high, left : left + wide] = pixels
    return found


def listed(given):
  """A list of rows, None where one is missing."""
  one = isinstance(given, (str, bytes, Path, float))
  return [None if missing(x) else x for x in ([given] if one else given)]


def missing(value) -> bool:
  if isinstance(value, (float, np.floating)):
    return bool(value != value)
  return value is None or (isinstance(value, str) and not value)


def spaced(title):
  """Words joined by single blanks; "" where no character shows anything."""
  title.encode()
  return " ".join(title.split()) if any(map(shows, title)) else ""


def shows(character) -> bool:
  kind = unicodedata.category(character)
  unseen = kind[0] in "MZ" or (kind[0] == "C" and kind != "Cn")
  return not unseen and character not in BLANK


def orientation(image):
  """Which way up, by its EXIF notes; broken ones say nothing."""
  try:
    return image.getexif().get(0x0112, 1)
  except BROKEN:
    return 1


def decode(jpeg, height, width, shrink):
  factor = max(f for f in (1, 2, 4, 8) if f <= max(shrink, 1))
  least = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
  return simplejpeg.decode_jpeg(jpeg, "RGB", **least)


def resize(pixels, size):
  if pixels.shape[:2] == size:
    return pixels
  shrink = max(pixels.shape[0] / size[0], pixels.shape[1] / size[1])
  method = cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR
  method = cv2.INTER_CUBIC if shrink < 1 else method
  return cv2.resize(pixels, size[::-1], interpolation=method)


def rgb(image):
  if image.mode[0] in "IF":
    raise ValueError(f"16-bit and float images are not read: {image.mode}")
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  return np.asarray(image.convert("RGB"))
