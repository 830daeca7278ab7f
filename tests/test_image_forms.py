"""An image in memory looks as the same picture does in a file."""

import io

import numpy as np
import pytest
from pictures import COLOURED, GREY, jpegs, png
from PIL import Image, ImageCms

from item_jax.data.images import load_square, store_jpeg
from item_jax.errors import UserError


def assert_looks_like(jpeg, pixels, tolerance=3):
  """A file of the expected pixels is the oracle."""
  seen, expected = (
    load_square(j, 64).astype(int) for j in (jpeg, store_jpeg(png(pixels)))
  )
  np.testing.assert_allclose(seen, expected, atol=tolerance)


def lab(image):
  profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
  return ImageCms.applyTransform(
    image, ImageCms.buildTransform(*profiles, "RGB", "LAB")
  )


COLOUR_MODES = {
  "RGB": lambda image: image,
  "RGBA": lambda image: image.convert("RGBA"),
  "RGBa": lambda image: image.convert("RGBA").convert("RGBa"),
  "RGBX": lambda image: image.convert("RGBX"),
  "CMYK": lambda image: image.convert("CMYK"),
  "YCbCr": lambda image: image.convert("YCbCr"),
  "HSV": lambda image: image.convert("HSV"),
  "LAB": lab,
  "P": lambda image: image.quantize(256),
  "PA": lambda image: image.quantize(256).convert("PA"),
}


@pytest.mark.parametrize("mode", COLOUR_MODES)
def test_every_coloured_mode(mode):
  image = COLOUR_MODES[mode](Image.fromarray(COLOURED))
  assert image.mode == mode
  # Those that hold other values than RGB's round them; palettes choose some.
  assert_looks_like(*jpegs(image), COLOURED, 12 if mode in ("P", "PA") else 6)


GREY_MODES = ("L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@pytest.mark.parametrize("mode", GREY_MODES)
def test_every_grey_mode(mode):
  """Pillow copies 0 to 255 into the deep ones as they are."""
  image = Image.fromarray(GREY)
  image = image.convert("LA").convert(mode) if mode == "La" else image
  assert_looks_like(*jpegs(image.convert(mode)), GREY, 1)


def test_no_mode_is_forgotten():
  assert set(Image.MODES) <= {*COLOUR_MODES, *GREY_MODES, "1"}


def test_black_and_white():
  image = Image.fromarray(GREY > 99)
  assert image.mode == "1"
  assert_looks_like(*jpegs(image), np.uint8(255) * (GREY > 99))
  assert jpegs(GREY > 99) == jpegs(image)


DEEP = GREY.astype(np.uint16) * 257  # white is 65,535 of 16 bits


@pytest.mark.parametrize(
  "image",
  [
    DEEP,
    DEEP.astype(">u2"),
    DEEP.astype(np.int32),
    DEEP[..., None],
    np.dstack([DEEP] * 3),
    np.dstack([DEEP] * 3)[None],
    png(DEEP),
    Image.fromarray(DEEP),
    Image.fromarray(DEEP).convert("I"),
    Image.fromarray(DEEP).convert("I").convert("F"),
    *(
      Image.frombytes(mode, (128, 48), DEEP.astype(order).tobytes())
      for mode, order in [
        ("I;16L", "<u2"),
        ("I;16B", ">u2"),
        ("I;16N", "=u2"),
      ]
    ),
  ],
)
def test_16_bits_are_scaled(image):
  assert_looks_like(*jpegs(image), GREY, 1)


def test_a_dark_file_of_16_bits_is_as_dark_when_pillow_opened_it():
  data = png(DEEP // 257)  # nowhere above 1/257 of white
  assert jpegs(Image.open(io.BytesIO(data))) == [store_jpeg(data)]
  assert load_square(store_jpeg(data), 64)[32, 32].max() <= 2


def test_transparency_lies_over_white():
  image = Image.fromarray(COLOURED).convert("RGBA")
  image.putalpha(Image.fromarray(np.uint8(255) * (GREY < 128)))
  shown = np.where(GREY[..., None] < 128, COLOURED, 255).astype(np.uint8)
  for mode in ("RGBA", "RGBa"):
    assert_looks_like(*jpegs(image.convert(mode)), shown)
  assert_looks_like(*jpegs(np.asarray(image)), shown)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_file(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  file = io.BytesIO()
  Image.fromarray(COLOURED).save(file, "PNG", exif=exif)
  jpeg = store_jpeg(file.getvalue())
  assert jpegs([file.getvalue(), Image.open(file)]) == [jpeg] * 2


def test_a_large_array_is_no_large_file():
  """20 megapixels are 60 MB; a file may have 50."""
  (jpeg,) = jpegs(np.full((5000, 4000, 3), 77, np.uint8))
  assert abs(int(load_square(jpeg, 8)[4, 4, 0]) - 77) <= 1


ARRAYS = [
  (GREY / 255, "float64 .*0 to 1"),
  (GREY.astype(np.float32), "float32 .*expected uint8 of 0 to 255"),
  (GREY.astype(np.int16) - 1, "values go from -1 to 251"),
  (GREY.astype(np.int64) + 9, "values go from 9 to 261"),
  (DEEP.astype(np.int64) + 999, "values go from 999 to 65763"),
  (GREY.astype(complex), "expected uint8"),
  (GREY.astype(str), "expected uint8"),
  (np.zeros((0, 8, 3), np.uint8), "no pixels"),
  (np.zeros((8, 0), np.uint8), "no pixels"),
  (np.zeros((8, 8, 0), np.uint8), "expected .*C from 1 to 4"),
  (np.zeros((3, 32, 32), np.uint8), "expected .*C from 1 to 4"),
  (np.zeros((1, 2, 3, 8, 8), np.uint8), "expected .*C from 1 to 4"),
]


@pytest.mark.parametrize(("array", "says"), ARRAYS)
def test_arrays_of_no_image(array, says):
  for given in (array, [array]):
    with pytest.raises(UserError, match=f"images .*{says}"):
      jpegs(given)


@pytest.mark.parametrize(
  "values", [[0.1, 0.9], [0.0, np.nan], [-3.0, 250.0], [0.0, 300.0]]
)
def test_modes_of_no_known_scale(values):
  image = Image.fromarray(np.float32([values]))
  with pytest.raises(UserError, match=r"row 0: .*mode F .*expected 0 to 255"):
    jpegs([image])
