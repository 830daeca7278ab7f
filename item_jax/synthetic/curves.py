"""Computes lines and outlines as points [N, 2]."""

import numpy as np

Point = tuple[float, float]


def ellipse(
  x: float,
  y: float,
  rx: float,
  ry: float | None = None,
  start: float = 0,
  end: float = 360,
) -> np.ndarray:
  """Returns points [48, 2] along an ellipse; angles in degrees, clockwise."""
  angle = np.radians(np.linspace(start, end, 48))
  ry = rx if ry is None else ry
  return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def rounded(
  left: float, top: float, right: float, low: float, r: float
) -> np.ndarray:
  """Returns a rectangle with corners of radius `r`."""
  corners = (
    (right - r, low - r, 0),
    (left + r, low - r, 90),
    (left + r, top + r, 180),
    (right - r, top + r, 270),
  )
  return np.concatenate([ellipse(x, y, r, r, a, a + 90) for x, y, a in corners])


def polygon(*points: Point) -> np.ndarray:
  """Returns points as an array."""
  return np.array(points, float)


def smooth(*points: Point, rounds: int = 3, closed: bool = True) -> np.ndarray:
  """Cuts the corners of a polygon (Chaikin) until it is a curve."""
  curve = np.array(points, float)
  for _ in range(rounds):
    after = np.roll(curve, -1, 0)
    cut = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after])
    cut = cut.transpose(1, 0, 2)
    if closed:
      curve = cut.reshape(-1, 2)
    else:
      curve = np.concatenate([curve[:1], cut[:-1].reshape(-1, 2), curve[-1:]])
  return curve


def turned(*profile: Point) -> np.ndarray:
  """Outlines a body of revolution by (half width, height), top to bottom."""
  half = np.array(profile, float)
  return np.concatenate([half * [-1, 1], half[::-1]])


def turned_smooth(*profile: Point) -> np.ndarray:
  """Does what `turned` does, with a smooth outline between sharp ends."""
  return turned(*smooth(*profile, closed=False))
