"""Draws images of synthetic products as RGB pixels.

Everything is drawn at twice the wanted size and halved, so that edges are
smooth. The random numbers decide only how the product is photographed: the same
numbers with another product give the same position, light and noise.
"""

from typing import NamedTuple

import cv2
import numpy as np

from item_jax.synthetic import curves, marks, shapes
from item_jax.synthetic.products import BRANDS, Product

_RGB = {
  "black": (38, 38, 42),
  "white": (240, 239, 234),
  "grey": (146, 149, 153),
  "red": (200, 42, 46),
  "blue": (42, 84, 172),
  "green": (48, 134, 74),
  "yellow": (238, 198, 50),
  "pink": (238, 146, 174),
  "purple": (120, 66, 152),
  "brown": (128, 82, 50),
}
_FIXED = {
  "wood": (184, 138, 92),
  "metal": (170, 174, 180),
  "dark": (48, 46, 48),
  "light": (250, 246, 232),
}
_CYCLES = (7.0, 4.5, 2.8)  # pattern repeats across the object, by scale
_SHIFT = 4  # cv2 takes coordinates in 1/2^4 of a pixel
_WIDTHS = (0.78, 0.95, 1.15)  # width over height, by form


class Shot(NamedTuple):
  """How a product is photographed; independent of the product."""

  size: float  # half the object's height, as a fraction of the image's side
  x: float  # the object's centre, in image sides from the middle
  y: float
  angle: float  # radians
  mirrored: bool
  from_behind: bool  # where neither pattern nor mark is seen
  background: str  # white, grey, colour, planks, cloth
  tint: tuple[float, float, float]  # of the background, 0..255
  gain: tuple[float, float, float]  # of the light, one for each of R, G, B
  slope: tuple[float, float]  # change of light across the image, as a fraction
  shadow: float  # 0..1
  noise: float  # standard deviation, grey levels
  quality: int  # of the JPEG


def take_shot(rng: np.random.Generator) -> Shot:
  """Draws at random how a product is photographed."""
  size = rng.uniform(0.3, 0.46)
  light = rng.uniform(0.85, 1.1)
  warmth = rng.normal(0, 0.04)
  return Shot(
    size=size,
    x=rng.normal(0, 0.05),
    y=rng.normal(0, 0.04),
    angle=rng.normal(0, 0.1),
    mirrored=bool(rng.random() < 0.3),
    from_behind=bool(rng.random() < 0.3),
    background=str(
      rng.choice(
        ["white", "grey", "colour", "planks", "cloth"],
        p=[0.6, 0.14, 0.12, 0.07, 0.07],
      )
    ),
    tint=tuple(rng.uniform(130, 240, 3).tolist()),
    gain=(light * (1 + warmth), light, light * (1 - warmth)),
    slope=tuple(rng.uniform(-0.12, 0.12, 2).tolist()),
    shadow=rng.uniform(0.1, 0.5),
    noise=rng.uniform(0.5, 7.0),
    quality=int(rng.integers(72, 96)),
  )


def draw(
  product: Product, shot: Shot, rng: np.random.Generator, *, side: int
) -> np.ndarray:
  """Draws an image, uint8 [side, side, 3] RGB; ignores TITLE_ONLY."""
  image = _background(shot, rng, side)
  noise = rng.standard_normal((side, side, 1), np.float32)
  colour, cover, shade, corner = _object(product, shot, 2 * side)
  colour = _halve(colour) * shade[..., None]
  cover = _halve(cover)[..., None] / np.float32(255)
  (x, y), (high, wide) = corner // 2, cover.shape[:2]
  tile = slice(y, y + high), slice(x, x + wide)

  reach = side * 0.035
  shadow = np.zeros((side, side), np.float32)
  shadow[tile] = cover[..., 0]
  move = np.array([[1, 0, reach], [0, 1, 1.6 * reach]], np.float32)
  moved = cv2.warpAffine(shadow, move, (side, side))
  blurred = cv2.GaussianBlur(moved, (0, 0), reach)[..., None]
  image *= 1 - shot.shadow * blurred
  image[tile] += cover * (colour - image[tile])

  ramp = np.linspace(-1, 1, side, dtype=np.float32)
  light = 1 + shot.slope[0] * ramp[None, :] + shot.slope[1] * ramp[:, None]
  image *= light[..., None] * np.array(shot.gain, np.float32)
  image += shot.noise * noise
  # Clips to 0..255.
  return cv2.convertScaleAbs(np.maximum(image, 0, out=image))


def _halve(image):
  high, wide = image.shape[:2]
  half = wide // 2, high // 2
  image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
  return image.astype(np.float32)


def _background(shot, rng, side):
  """Draws float32 [side, side, 3]; uses equally many random numbers always."""
  grain = rng.standard_normal((side, side), np.float32)
  tint = np.float32(shot.tint)
  flat = np.ones((side, side, 3), np.float32)
  if shot.background == "white":
    return flat * 252
  down = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
  if shot.background == "grey":
    return flat * (tint.mean() + 20 - 40 * down)
  if shot.background == "colour":
    return flat * (tint + 18 - 36 * down)
  if shot.background == "planks":
    streaks = cv2.GaussianBlur(grain, (0, 0), side / 12, sigmaY=0.6)
    wood = np.float32([0.95, 0.78, 0.6]) * tint.mean()
    seam = np.where((down * 5) % 1 < 0.035, *np.float32([0.72, 1]))
    return wood * seam * (1 + 0.5 * streaks[..., None])
  weave = cv2.GaussianBlur(grain, (0, 0), side / 110)
  return tint * (1 + 0.12 * weave[..., None])


def _object(product, shot, side):
  """Draws the part of a canvas of `side` that holds the object, hard-edged.

  Returns:
    Colours uint8 [H, W, 3]; the object's mask uint8 [H, W], 255 on the object;
    light on it, float32 [H/2, W/2]; where the part starts, int [x, y].
  """
  parts, spots = shapes.shape(product.kind)
  width = _WIDTHS[product.form] * (-1 if shot.mirrored else 1)
  cosine, sine = np.cos(shot.angle), np.sin(shot.angle)
  turn = np.array([[cosine, -sine], [sine, cosine]])
  grow = side * shot.size * turn @ np.diag([width, 1.0])
  centre = side * (0.5 + np.array([shot.x, shot.y]))

  placed = [part.points @ grow.T + centre for part in parts]
  corner, size = _bounds(np.concatenate(placed), side // 12, side)
  centre = centre - corner
  placed = [_pixels(points - corner) for points in placed]

  main, second = _RGB[product.colour], _RGB[product.second]
  paints = {"body": main, "main": main, "second": second, **_FIXED}
  body = np.concatenate([part.points for part in parts if part.paint == "body"])
  u, v = _coordinates(grow, centre, size)
  texture = _texture(product, shot, np.uint8([main, second]), u, v, body)

  canvas = np.full((*size, 3), main, np.uint8)
  cover = np.zeros(size, np.uint8)
  line = max(1, side // 160)
  for part, points in zip(parts, placed, strict=True):
    paint = paints[part.paint]
    edge = tuple(int(0.6 * value) for value in paint)
    if part.width:
      thick = max(1, round(part.width * side * shot.size))
      _stroke(cover, points, 255, thick + 2 * line)
      _stroke(canvas, points, edge, thick + 2 * line)
      _stroke(canvas, points, paint, thick)
      continue
    cv2.fillPoly(cover, [points], 255, cv2.LINE_8, _SHIFT)
    if part.paint == "body":
      mask = np.zeros_like(cover)
      cv2.fillPoly(mask, [points], 255, cv2.LINE_8, _SHIFT)
      cv2.copyTo(texture, mask, canvas)
    else:
      cv2.fillPoly(canvas, [points], paint, cv2.LINE_8, _SHIFT)
    cv2.polylines(canvas, [points], True, edge, line, cv2.LINE_AA, _SHIFT)
  if not shot.from_behind:
    _mark(canvas, BRANDS[product.brand], spots[product.place], grow, centre)
  return canvas, cover, _shade(u[::2, ::2], body), corner


def _bounds(points, margin, side):
  """Returns the even corner [x, y] and size (high, wide) of a clipped box."""
  low = np.clip(points.min(0) - margin, 0, side) // 2 * 2
  high = np.clip(points.max(0) + margin, 0, side) // 2 * 2
  wide, tall = (high - low).astype(int).tolist()
  return low.astype(int), (tall, wide)


def _shade(u, body):
  """Computes light on a round object; `u` is a pixel's position on it."""
  left, right = body[:, 0].min(), body[:, 0].max()
  across = np.clip(2 * (u - left) / (right - left) - 1, -1.5, 1.5)
  return 1.04 - 0.2 * across * across - 0.06 * across


def _coordinates(grow, centre, size):
  """Returns each pixel's position on the object: u, v float32 [high, wide]."""
  back = np.linalg.inv(grow).astype(np.float32)
  y = np.arange(size[0], dtype=np.float32)[:, None] - np.float32(centre[1])
  x = np.arange(size[1], dtype=np.float32)[None, :] - np.float32(centre[0])
  return back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y


def _pixels(points):
  """Converts points to cv2's int32 [N, 1, 2], in fractions of a pixel."""
  return np.rint(points * 2**_SHIFT).astype(np.int32)[:, None]


def _stroke(image, points, colour, thick):
  cv2.polylines(image, [points], False, colour, thick, cv2.LINE_AA, _SHIFT)


def _texture(product, shot, colours, u, v, body):
  """Draws pattern and bands, uint8 [H, W, 3]; colours uint8 [2, 3]."""
  pattern = "plain" if shot.from_behind else product.pattern
  inked = _pattern(pattern, u, v, _CYCLES[product.scale] / 2)
  top, low = body[:, 1].min(), body[:, 1].max()
  if product.trim:
    depth = v - top if product.trim == 1 else low - v
    band = 0.17 * (low - top)
    # An edge in the main colour sets the band off against any pattern.
    inked = (inked & (depth > 1.35 * band)) | (depth < band)
  return np.take(colours, inked.view(np.uint8), axis=0)


def _pattern(name, u, v, frequency):
  """Returns True where the second colour is; `frequency` in cycles a unit."""
  if name == "plain":
    return np.zeros(u.shape, bool)
  a, b = u * frequency, v * frequency
  row = np.floor(b)
  b -= row  # from here on both are within their cycle, 0 to 1
  if name == "dots":
    a += row / 2
  a -= np.floor(a)
  if name == "stripes":
    return b < 0.5
  if name == "pinstripes":
    return a < 0.35
  if name == "dots":
    return (a - 0.5) ** 2 + (b - 0.5) ** 2 < 0.09
  if name == "check":
    return (a < 0.5) ^ (b < 0.5)
  if name == "zigzag":
    b += 1.2 * np.abs(a - 0.5)
    return b - np.floor(b) < 0.45
  raise ValueError(f"no pattern is called {name!r}")


def _mark(canvas, name, spot, grow, centre):
  """Draws a light patch with the brand's mark on it."""
  # The mark keeps its proportions whatever the object's.
  size = 0.2 * np.linalg.norm(grow[:, 1])
  upright = grow[:, 1] / np.linalg.norm(grow[:, 1])
  turn = size * np.array([[upright[1], upright[0]], [-upright[0], upright[1]]])
  middle = grow @ spot + centre
  patch = _pixels(curves.rounded(-1, -1, 1, 1, 0.35) @ turn.T + middle)
  cv2.fillPoly(canvas, [patch], _FIXED["light"], cv2.LINE_AA, _SHIFT)
  cv2.polylines(canvas, [patch], True, (90, 86, 80), 1, cv2.LINE_AA, _SHIFT)
  mark = [
    _pixels(0.72 * outline @ turn.T + middle) for outline in marks.mark(name)
  ]
  cv2.fillPoly(canvas, mark, _FIXED["dark"], cv2.LINE_AA, _SHIFT)
