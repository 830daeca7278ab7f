"""Outlines the marks of the synthetic brands.

Coordinates are x to the right and y down, a mark filling -1 to 1.
"""

import numpy as np

from item_jax.synthetic.curves import ellipse, polygon


def mark(name: str) -> list[np.ndarray]:
  """Returns outlines, filled by the even-odd rule: an inner one is a hole."""
  return _MARKS[name]


def _star():
  angle = np.pi * np.arange(10) / 5
  radius = np.where(np.arange(10) % 2, 0.42, 1.05)
  return [np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1)]


def _heart():
  t = np.linspace(0, 2 * np.pi, 48)
  x = 16 * np.sin(t) ** 3
  y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
  return [np.stack([x, -y], 1) / 16]


def _moon():
  outer = ellipse(0, 0, 1, 1, 60, 300)
  return [np.concatenate([outer, ellipse(0.35, 0, 0.87, 0.87, 283, 77)])]


def _box(left, top, right, low):
  return polygon((left, top), (right, top), (right, low), (left, low))


def _cross():
  return [
    polygon(
      (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
      (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
    )
  ]  # fmt: skip


_MARKS = {
  "disc": [ellipse(0, 0, 0.95)],
  "ring": [ellipse(0, 0, 1.0), ellipse(0, 0, 0.55)],
  "triangle": [polygon((0, -1.0), (1.0, 0.85), (-1.0, 0.85))],
  "square": [_box(-0.95, -0.95, 0.95, 0.95), _box(-0.45, -0.45, 0.45, 0.45)],
  "diamond": [polygon((0, -1.1), (0.8, 0), (0, 1.1), (-0.8, 0))],
  "cross": _cross(),
  "star": _star(),
  "bars": [_box(x - 0.25, -0.9, x + 0.25, 0.9) for x in (-0.75, 0, 0.75)],
  "heart": _heart(),
  "moon": _moon(),
}
