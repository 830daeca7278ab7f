"""Places an image of any shape in the square that a model sees."""


def place_in_square(
  height: int, width: int, size: int
) -> tuple[int, int, int, int]:
  """Returns top, left, height and width of an image in its square, in pixels.

  The aspect ratio is kept: the long side gets `size` pixels, and the image is
  centred.
  """
  long_side = max(height, width)
  high = max(1, round(height * size / long_side))
  wide = max(1, round(width * size / long_side))
  return (size - high) // 2, (size - wide) // 2, high, wide
