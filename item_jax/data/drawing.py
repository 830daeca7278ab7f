"""Draws product photos: a Product and random numbers in, RGB pixels out.

Everything is drawn at twice the wanted size and halved, so that edges are
smooth. The random numbers decide how the photo was taken and nothing else:
the same numbers with another product give the same place, light and noise.
"""

from typing import NamedTuple

import cv2
import numpy as np

from item_jax.data import shapes
from item_jax.data.invention import BRANDS, Product

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
_WIDTHS = (0.78, 0.95, 1.15)  # width over height, by form


class Shot(NamedTuple):
  """How one photo was taken; nothing here depends on the product."""

  size: float  # half the object's height, as a share of the photo's side
  x: float  # the object's centre, in photo sides from the middle
  y: float
  angle: float  # radians
  mirrored: bool
  mark_hidden: bool  # the mark is on the other side
  background: str  # white, grey, colour, planks, cloth
  tint: tuple[float, float, float]  # of the background, 0..255
  gain: tuple[float, float, float]  # of the light, one for each of R, G, B
  slope: tuple[float, float]  # light across the photo, share of its level
  shadow: float  # 0..1
  noise: float  # standard deviation, grey levels
  quality: int  # of the JPEG


def take_shot(rng: np.random.Generator) -> Shot:
  """Draws how a photo is taken."""
  size = rng.uniform(0.24, 0.46)
  room = 0.5 - 0.8 * size
  light = rng.uniform(0.78, 1.15)
  warmth = rng.normal(0, 0.05)
  return Shot(
    size=size,
    x=rng.uniform(-room, room),
    y=rng.uniform(-room, room),
    angle=rng.normal(0, 0.13),
    mirrored=bool(rng.random() < 0.3),
    mark_hidden=bool(rng.random() < 0.3),
    background=str(
      rng.choice(
        ["white", "grey", "colour", "planks", "cloth"],
        p=[0.42, 0.16, 0.18, 0.12, 0.12],
      )
    ),
    tint=tuple(rng.uniform(110, 235, 3)),
    gain=(light * (1 + warmth), light, light * (1 - warmth)),
    slope=tuple(rng.uniform(-0.16, 0.16, 2)),
    shadow=rng.uniform(0.1, 0.5),
    noise=rng.uniform(0.5, 7.0),
    quality=int(rng.integers(72, 96)),
  )


def draw(
  product: Product, shot: Shot, rng: np.random.Generator, *, side: int
) -> np.ndarray:
  """The photo, uint8 [side, side, 3] RGB. Reads nothing of TITLE_ONLY."""
  background = _background(shot, rng, side)
  noise = rng.standard_normal((side, side, 1), np.float32)
  colour, cover = _object(product, shot, 2 * side)
  colour = cv2.resize(colour, (side, side), interpolation=cv2.INTER_AREA)
  cover = cv2.resize(cover, (side, side), interpolation=cv2.INTER_AREA)
  cover = cover.astype(np.float32)[..., None] / 255

  reach = side * 0.035
  move = np.float32([[1, 0, reach], [0, 1, 1.6 * reach]])
  shadow = cv2.warpAffine(cover, move, (side, side))
  shadow = cv2.GaussianBlur(shadow, (0, 0), reach)[..., None]
  below = background * (1 - shot.shadow * shadow)

  photo = below + cover * (colour - below)
  ramp = np.linspace(-1, 1, side, dtype=np.float32)
  light = 1 + shot.slope[0] * ramp[None, :] + shot.slope[1] * ramp[:, None]
  photo = photo * light[..., None] * np.float32(shot.gain)
  return np.clip(photo + shot.noise * noise, 0, 255).astype(np.uint8)


def _background(shot, rng, side):
  """float32 [side, side, 3]; takes the same random numbers for every kind."""
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
    seam = np.where((down * 5) % 1 < 0.035, 0.72, 1.0)
    return wood * seam * (1 + 0.5 * streaks[..., None])
  weave = cv2.GaussianBlur(grain, (0, 0), side / 110)
  return tint * (1 + 0.12 * weave[..., None])


def _object(product, shot, side):
  """Colours uint8 [side, side, 3] and cover uint8 [side, side], 255 inside."""
  parts, spots = shapes.SHAPES[product.kind](product.form)
  width = _WIDTHS[product.form] * (-1 if shot.mirrored else 1)
  turn = np.array(
    [
      [np.cos(shot.angle), -np.sin(shot.angle)],
      [np.sin(shot.angle), np.cos(shot.angle)],
    ]
  )
  grow = side * shot.size * turn @ np.diag([width, 1.0])
  centre = side * (0.5 + np.array([shot.x, shot.y]))

  main, second = np.array(_RGB[product.colour]), np.array(_RGB[product.second])
  paints = {"main": main, "second": second, **_FIXED}
  body = np.concatenate([p.points for p in parts if p.paint == "body"])
  texture = _texture(product, main, second, grow, centre, body, side)

  canvas = np.empty((side, side, 3), np.uint8)
  canvas[:] = main
  cover = np.zeros((side, side), np.uint8)
  for part in parts:
    points = np.rint(16 * (part.points @ grow.T + centre)).astype(np.int32)
    points = points[:, None]
    if part.width:
      thick = max(1, round(part.width * side * shot.size))
      paint = tuple(int(value) for value in paints[part.paint])
      edge = tuple(int(0.6 * value) for value in paint)
      for colour, wide in ((edge, thick + side // 80), (paint, thick)):
        _stroke(canvas, points, colour, wide)
      _stroke(cover, points, 255, thick + side // 80)
      continue
    cv2.fillPoly(cover, [points], 255, cv2.LINE_8, 4)
    if part.paint == "body":
      mask = np.zeros_like(cover)
      cv2.fillPoly(mask, [points], 255, cv2.LINE_8, 4)
      cv2.copyTo(texture, mask, canvas)
      paint = tuple(int(value) for value in main)
    else:
      paint = tuple(int(value) for value in paints[part.paint])
      cv2.fillPoly(canvas, [points], paint, cv2.LINE_8, 4)
    edge = tuple(int(0.6 * value) for value in paint)
    cv2.polylines(canvas, [points], True, edge, side // 160, cv2.LINE_AA, 4)
  if not shot.mark_hidden:
    _mark(canvas, BRANDS[product.brand], spots[product.place], grow, centre)
  return canvas, cover


def _stroke(image, points, colour, thick):
  cv2.polylines(image, [points], False, colour, thick, cv2.LINE_AA, 4)


def _texture(product, main, second, grow, centre, body, side):
  """Pattern, bands and shading over the whole canvas, uint8."""
  back = np.linalg.inv(grow).astype(np.float32)
  pixels = np.arange(side, dtype=np.float32)
  x = pixels[None, :] - np.float32(centre[0])
  y = pixels[:, None] - np.float32(centre[1])
  u = back[0, 0] * x + back[0, 1] * y
  v = back[1, 0] * x + back[1, 1] * y
  top, low = body[:, 1].min(), body[:, 1].max()
  left, right = body[:, 0].min(), body[:, 0].max()
  inked = _pattern(product.pattern, u, v, _CYCLES[product.scale] / 2)
  depth = (v - top) / (low - top)
  if product.trim == 1:
    inked |= depth < 0.17
  elif product.trim == 2:
    inked |= depth > 0.83
  across = 2 * (u - left) / (right - left) - 1
  shade = 1.04 - 0.2 * across * across - 0.06 * across
  flat = np.where(inked[..., None], np.float32(second), np.float32(main))
  return np.clip(flat * shade[..., None], 0, 255).astype(np.uint8)


def _pattern(name, u, v, frequency):
  """True where the second colour is; `frequency` in cycles a unit."""
  a, b = u * frequency, v * frequency
  if name == "plain":
    return np.zeros(np.broadcast_shapes(u.shape, v.shape), bool)
  if name == "stripes":
    return b % 1 < 0.5
  if name == "pinstripes":
    return a % 1 < 0.35
  if name == "dots":
    row = np.floor(b)
    across = (a + 0.5 * (row % 2)) % 1 - 0.5
    return across**2 + (b - row - 0.5) ** 2 < 0.09
  if name == "check":
    return (a % 1 < 0.5) ^ (b % 1 < 0.5)
  if name == "zigzag":
    return (b + 1.2 * np.abs(a % 1 - 0.5)) % 1 < 0.45
  raise ValueError(f"no pattern is called {name!r}")


def _mark(canvas, name, spot, grow, centre):
  """A light patch with the brand's mark on it."""
  # The mark keeps its proportions whatever the object's.
  size = 0.2 * np.linalg.norm(grow[:, 1])
  upright = grow[:, 1] / np.linalg.norm(grow[:, 1])
  turn = size * np.array([[upright[1], upright[0]], [-upright[0], upright[1]]])
  middle = grow @ spot + centre
  place = lambda points: np.rint(16 * (points @ turn.T + middle)).astype(
    np.int32
  )[:, None]
  patch = place(shapes.rounded(-1, -1, 1, 1, 0.35))
  cv2.fillPoly(canvas, [patch], _FIXED["light"], cv2.LINE_AA, 4)
  cv2.polylines(canvas, [patch], True, (90, 86, 80), 1, cv2.LINE_AA, 4)
  outline = [place(0.72 * points) for points in shapes.MARKS[name]]
  cv2.fillPoly(canvas, outline, _FIXED["dark"], cv2.LINE_AA, 4)
