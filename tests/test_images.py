"""Laws of what a data set stores of an image, and of the square made of it."""

import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps
from shop import jpeg_claiming

from item_jax.data.images import BadImage, load_square, store_jpeg

RED, GREEN, BLUE, GREY = (
  (220, 30, 30),
  (20, 180, 40),
  (30, 40, 200),
  (128, 128, 128),
)


def quarters(height=320, width=480):
  """Red and green above blue and grey, so that every turn shows."""
  pixels = np.zeros((height, width, 3), np.uint8)
  high, wide = height // 2, width // 2
  pixels[:high, :wide] = RED
  pixels[:high, wide:] = GREEN
  pixels[high:, :wide] = BLUE
  pixels[high:, wide:] = GREY
  return Image.fromarray(pixels)


def encoded(image, kind, **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def stored(data):
  image = Image.open(io.BytesIO(store_jpeg(data)))
  assert (image.format, image.mode) == ("JPEG", "RGB")
  return np.asarray(image).astype(int)


def middles(pixels):
  """The colours in the middle of the four quarters, row by row."""
  height, width = pixels.shape[:2]
  return [
    pixels[height * y // 4, width * x // 4] for y in (1, 3) for x in (1, 3)
  ]


def assert_colours(pixels, expected, tolerance=6):
  for seen, wanted in zip(middles(pixels), expected, strict=True):
    np.testing.assert_allclose(seen, wanted, atol=tolerance)


@pytest.mark.parametrize(
  ("kind", "options"),
  [
    ("JPEG", {"quality": 95}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ("PNG", {}),
    ("PNG", {"interlace": 1}),
    ("WEBP", {"quality": 95}),
    ("WEBP", {"lossless": True}),
  ],
)
def test_every_format_keeps_its_colours(kind, options):
  pixels = stored(encoded(quarters(), kind, **options))
  assert pixels.shape == (256, 384, 3)
  assert_colours(pixels, [RED, GREEN, BLUE, GREY])


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_jpeg_of_another_mode(mode):
  image = quarters().convert(mode)
  back = np.asarray(image.convert("RGB")).astype(int)
  pixels = stored(encoded(image, "JPEG", quality=95))
  assert_colours(pixels, middles(back))


def test_16_bit_is_scaled_and_not_cut():
  grey = np.zeros((300, 300), np.uint16)
  grey[:150, 150:] = 65535
  grey[150:, :150] = 32768
  grey[150:, 150:] = 257
  pixels = stored(encoded(Image.fromarray(grey), "PNG"))
  assert_colours(pixels, [[0] * 3, [255] * 3, [128] * 3, [1] * 3], tolerance=2)


def test_transparency_lies_over_white():
  image = quarters().convert("RGBA")
  alpha = np.full((320, 480), 255, np.uint8)
  alpha[:160, :240] = 0  # red: gone
  alpha[160:, :240] = 128  # blue: half
  image.putalpha(Image.fromarray(alpha))
  half = (np.asarray(BLUE) * 128 + 255 * 127) / 255
  for kind in ("PNG", "WEBP"):
    pixels = stored(encoded(image, kind, **{"lossless": True}))
    assert_colours(pixels, [(255,) * 3, GREEN, half, GREY])


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "LA", "1", "I;16"])
def test_transparency_of_other_modes(mode):
  """One colour, or its alpha, is transparent: black becomes white."""
  image = Image.new("L", (300, 300), 0)
  image.paste(255, (150, 0, 300, 300))
  options = {}
  if mode == "LA":
    image = Image.merge("LA", (image, image))
  elif mode == "I;16":
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    options = {"transparency": 0}
  else:
    image = image.convert(mode)
    black = image.getpixel((0, 0))
    options = {"transparency": black}
  pixels = stored(encoded(image, "PNG", **options))
  assert_colours(pixels, [(255,) * 3] * 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation(kind, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(quarters(), kind, exif=exif)
  upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
  pixels = stored(data)
  assert (pixels.shape[0] > pixels.shape[1]) == (orientation > 4)
  assert_colours(pixels, middles(np.asarray(upright).astype(int)))


def test_broken_exif_costs_the_rotation_only():
  data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff")
  assert_colours(stored(data), [RED, GREEN, BLUE, GREY])


def test_metadata_does_not_reach_the_store():
  exif = Image.Exif()
  exif[0x010F] = "a camera's maker"
  kept = store_jpeg(encoded(quarters(), "JPEG", exif=exif, comment=b"private"))
  assert b"camera" not in kept
  assert b"private" not in kept


@pytest.mark.parametrize(
  ("size", "kept"),
  [
    ((1000, 750), (341, 256)),
    ((256, 256), (256, 256)),
    ((160, 120), (160, 120)),  # never enlarged
    ((1, 1), (1, 1)),
    ((10_000, 300), (2048, 61)),  # a panorama
    ((3, 20_000), (1, 2048)),
  ],
)
def test_stored_size(size, kept):
  data = encoded(Image.new("RGB", size, GREEN), "JPEG")
  assert Image.open(io.BytesIO(store_jpeg(data))).size == kept


def scene(height, width):
  """Something with soft and hard edges at many scales."""
  y, x = np.mgrid[:height, :width] / np.asarray([[[height]], [[width]]])
  waves = [
    np.sin(40 * x * y + c) + np.sign(np.sin(9 * x + c)) for c in range(3)
  ]
  return Image.fromarray((np.stack(waves, -1) * 60 + 128).astype(np.uint8))


@pytest.mark.parametrize("side", [300, 600, 1100, 2500])
def test_decoding_at_a_fraction_looks_like_the_full_resize(side):
  image = scene(side, side * 5 // 4)
  pixels = stored(encoded(image, "JPEG", quality=95))
  size = (pixels.shape[1], pixels.shape[0])
  full = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(int)
  error = np.mean((pixels - full) ** 2)
  assert 10 * np.log10(255**2 / error) > 33  # dB; one pixel aside is 29


def png_of(width, height):
  """A PNG whose header claims this size, right checksum included."""
  header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  body = encoded(quarters(), "PNG")
  return body[:12] + header + struct.pack(">I", zlib.crc32(header)) + body[33:]


@pytest.mark.parametrize("make", [jpeg_claiming, png_of])
@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 5_001)])
def test_too_many_pixels_are_refused_by_the_header(make, size):
  with pytest.raises(BadImage, match="more than 50 megapixels"):
    store_jpeg(make(*size))


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "empty"),
    (b"<html>not found</html>", "no JPEG, PNG or WebP"),
    (encoded(quarters(), "GIF"), "no JPEG, PNG or WebP"),
    (encoded(quarters(), "TIFF"), "no JPEG, PNG or WebP"),
    (b"\xff\xd8\xff" + bytes(100), "no JPEG, PNG or WebP"),
    (bytes(50_000_001), "larger than 50 MB"),
  ],
)
def test_what_is_no_image(data, reason):
  with pytest.raises(BadImage, match=reason):
    store_jpeg(data)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95, 0.99])
@pytest.mark.parametrize(
  ("kind", "options"),
  [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
  ],
)
def test_a_file_cut_short_is_refused(kind, options, share):
  data = encoded(scene(400, 500), kind, **options)
  with pytest.raises(BadImage):
    store_jpeg(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damage_in_the_middle_is_refused(kind):
  """No image with a black or a made-up half; what no decoder can notice, as a
  JPEG has no sums, is the exception."""
  good = encoded(scene(400, 500), kind)
  rng = np.random.default_rng(0)
  refused = 0
  for at in rng.integers(700, len(good) - 100, 40):
    data = good[:at] + bytes(64) + good[at + 64 :]
    try:
      store_jpeg(data)
    except BadImage:
      refused += 1
    else:
      assert kind == "JPEG"
      simplejpeg.decode_jpeg(data)  # raises at what it had to make up
  assert refused > 30


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc4", b"\xff\xd9"])
def test_padding_between_the_parts_of_a_jpeg_is_overlooked(marker):
  """Before its tables and its end."""
  # Of a baseline file nobody reads what comes after the pixels.
  last = marker == b"\xff\xd9"
  good = encoded(scene(400, 500), "JPEG", progressive=last)
  at = good.rindex(marker) if last else good.index(marker)
  padded = good[:at] + bytes(10) + good[at:]
  with pytest.raises(ValueError, match="extraneous bytes"):
    simplejpeg.decode_jpeg(padded)  # or nothing is tested
  assert np.abs(stored(padded) - stored(good)).max() <= 2


@pytest.mark.filterwarnings("error")  # nothing is told beside it either
def test_random_damage_raises_nothing_but_bad_image():
  rng = np.random.default_rng(0)
  image = scene(60, 50)
  files = [
    encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    encoded(image.convert("CMYK"), "JPEG"),
    encoded(image.convert("P"), "PNG", transparency=3),
    encoded(image.convert("RGBA"), "PNG"),
    encoded(image, "WEBP"),
  ]
  outcomes = {True: 0, False: 0}
  for turn in range(1500):
    data = np.frombuffer(files[turn % len(files)], np.uint8).copy()
    # Early bytes more often: that is where the headers are.
    places = (rng.random(4) ** 3 * len(data)).astype(int)
    data[places] = rng.integers(0, 256, 4)
    try:
      store_jpeg(data.tobytes())
      outcomes[True] += 1
    except BadImage:
      outcomes[False] += 1
  assert min(outcomes.values()) > 100


def test_square_keeps_the_aspect_on_white():
  jpeg = store_jpeg(encoded(Image.new("RGB", (100, 50), BLUE), "PNG"))
  square = load_square(jpeg, 64)
  assert (square.shape, square.dtype) == ((64, 64, 3), np.uint8)
  np.testing.assert_allclose(square[17:47], [[BLUE] * 64] * 30, atol=4)
  assert (square[:16] == 255).all()
  assert (square[48:] == 255).all()
  upright = load_square(store_jpeg(encoded(quarters(200, 100), "PNG")), 50)
  assert (upright[:, :12] == 255).all()
  assert (upright[:, 37:] == 255).all()
  np.testing.assert_allclose(upright[12, 18], RED, atol=4)
  np.testing.assert_allclose(upright[37, 31], GREY, atol=4)


@pytest.mark.parametrize("size", [16, 32, 64, 96, 128, 224])
def test_square_looks_like_an_antialiased_bicubic_resize(size):
  jpeg = store_jpeg(encoded(scene(500, 500), "PNG"))
  image = Image.open(io.BytesIO(jpeg))
  full = image.resize((size, size), Image.Resampling.BICUBIC)
  error = np.mean((load_square(jpeg, size) - np.asarray(full).astype(int)) ** 2)
  assert 10 * np.log10(255**2 / error) > 35  # dB; one pixel aside is 28


def test_square_of_a_small_image_is_enlarged():
  jpeg = store_jpeg(encoded(quarters(40, 40), "PNG"))
  square = load_square(jpeg, 224).astype(int)
  assert_colours(square, [RED, GREEN, BLUE, GREY], tolerance=10)


@pytest.mark.parametrize("jpeg", [b"", b"text", encoded(quarters(), "PNG")])
def test_square_of_no_jpeg_is_an_error(jpeg):
  with pytest.raises(ValueError, match=r".+"):
    load_square(jpeg, 32)
