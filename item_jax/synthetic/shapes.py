"""Outlines the synthetic products: the painted parts of each kind.

Coordinates are x to the right and y down, the object filling about -1 to 1.
"""

import functools
from typing import NamedTuple

import numpy as np

from item_jax.synthetic.curves import (
  ellipse,
  polygon,
  rounded,
  smooth,
  turned,
  turned_smooth,
)


class Part(NamedTuple):
  """One piece of an object, drawn over those before it."""

  paint: str  # body (patterned), main, second, wood, metal, dark, light
  points: np.ndarray  # [N, 2]
  width: float = 0.0  # of a stroke along the points; 0 fills them


@functools.cache
def shape(kind: str) -> tuple[list[Part], np.ndarray]:
  """Returns an object's parts, back to front, and three spots for a mark."""
  return _SHAPES[kind]()


def _spots(*spots):
  return np.array(spots, float)


def _mug():
  handle = smooth(
    (0.5, -0.35), (1.05, -0.45), (1.05, 0.4), (0.5, 0.35), closed=False
  )
  parts = [
    Part("second", handle, 0.17),
    Part("body", turned((0.62, -0.8), (0.62, 0.7), (0.52, 0.85))),
    Part("dark", ellipse(0, -0.8, 0.62, 0.1)),
  ]
  return parts, _spots((-0.3, -0.3), (0.0, 0.1), (0.3, 0.45))


def _bottle():
  parts = [
    Part(
      "body",
      turned_smooth(
        (0.2, -0.7), (0.2, -0.45), (0.48, -0.3), (0.48, 0.0), (0.48, 0.98),
        (0.4, 1.0),
      ),
    ),
    Part("second", rounded(-0.24, -1.0, 0.24, -0.66, 0.08)),
  ]  # fmt: skip
  return parts, _spots((0.0, -0.1), (0.0, 0.3), (0.0, 0.7))


def _plate():
  parts = [
    Part("body", ellipse(0, 0, 0.98)),
    Part("second", ellipse(0, 0, 0.62)),
    Part("main", ellipse(0, 0, 0.56)),
  ]
  return parts, _spots((0.0, -0.28), (0.0, 0.0), (0.0, 0.3))


def _teapot():
  spout = smooth(
    (-0.5, 0.3), (-0.95, 0.2), (-0.8, -0.3), (-1.2, -0.45), closed=False
  )
  handle = smooth(
    (0.55, -0.3), (1.15, -0.4), (1.1, 0.5), (0.55, 0.45), closed=False
  )
  parts = [
    Part("main", spout, 0.2),
    Part("second", handle, 0.14),
    Part("body", ellipse(0, 0.12, 0.75, 0.66)),
    Part("second", ellipse(0, -0.5, 0.4, 0.13)),
    Part("second", ellipse(0, -0.68, 0.11)),
  ]
  return parts, _spots((-0.35, 0.1), (0.0, 0.2), (0.35, 0.1))


def _vase():
  parts = [
    Part(
      "body",
      turned_smooth(
        (0.36, -1.0), (0.16, -0.75), (0.2, -0.4), (0.75, -0.1), (0.7, 0.6),
        (0.3, 0.9), (0.34, 1.0),
      ),
    ),
    Part("second", ellipse(0, -0.98, 0.36, 0.07)),
  ]  # fmt: skip
  return parts, _spots((0.0, -0.1), (-0.2, 0.25), (0.0, 0.6))


def _lamp():
  parts = [
    Part("metal", polygon((0, 0.0), (0, 0.85)), 0.1),
    Part("second", turned((0.12, 0.72), (0.45, 0.9), (0.45, 1.0))),
    Part("body", turned((0.38, -1.0), (0.82, 0.12))),
  ]
  return parts, _spots((0.0, -0.7), (0.0, -0.35), (0.35, -0.1))


def _clock():
  parts = [
    Part("body", ellipse(0, 0, 1.0)),
    Part("light", ellipse(0, 0, 0.66)),
  ]
  for hour in range(12):
    direction = np.array([np.sin(hour * np.pi / 6), np.cos(hour * np.pi / 6)])
    parts.append(
      Part("dark", np.stack([0.54 * direction, 0.61 * direction]), 0.05)
    )
  parts += [
    Part("second", polygon((0, 0), (0.3, -0.14)), 0.09),
    Part("second", polygon((0, 0), (-0.12, -0.48)), 0.06),
    Part("dark", ellipse(0, 0, 0.06)),
  ]
  return parts, _spots((-0.36, 0.12), (0.0, 0.36), (0.36, 0.12))


def _cushion():
  parts = [
    Part(
      "body",
      smooth(
        (-1, -0.95), (0, -0.8), (1, -0.95), (0.85, 0), (1, 0.95), (0, 0.8),
        (-1, 0.95), (-0.85, 0), rounds=2,
      ),
    ),
  ]  # fmt: skip
  parts += [
    Part("second", ellipse(x, y, 0.09))
    for x in (-0.82, 0.82)
    for y in (-0.78, 0.78)
  ]
  return parts, _spots((-0.45, -0.45), (0.0, 0.0), (0.45, 0.45))


def _chair():
  legs = [
    Part("wood", polygon((x, 0.2), (1.15 * x, 1.0)), 0.1)
    for x in (-0.5, -0.25, 0.25, 0.5)
  ]
  parts = [
    *legs,
    Part("wood", polygon((-0.5, -0.8), (-0.5, 0.2)), 0.1),
    Part("wood", polygon((0.5, -0.8), (0.5, 0.2)), 0.1),
    Part("body", rounded(-0.56, -1.0, 0.56, -0.12, 0.16)),
    Part(
      "second", polygon((-0.58, 0.1), (0.58, 0.1), (0.7, 0.34), (-0.7, 0.34))
    ),
  ]
  return parts, _spots((-0.3, -0.74), (0.0, -0.56), (0.3, -0.38))


def _shirt():
  parts = [
    Part(
      "body",
      polygon(
        (-0.3, -0.85), (-0.55, -0.8), (-1.1, -0.3), (-0.85, -0.02),
        (-0.58, -0.25), (-0.58, 0.95), (0.58, 0.95), (0.58, -0.25),
        (0.85, -0.02), (1.1, -0.3), (0.55, -0.8), (0.3, -0.85),
      ),
    ),
    Part("second", ellipse(0, -0.86, 0.3, 0.24, 0, 180), 0.09),
  ]  # fmt: skip
  return parts, _spots((-0.28, -0.3), (0.0, 0.05), (0.3, 0.6))


def _dress():
  parts = [
    Part(
      "body",
      polygon(
        (-0.24, -1.0), (-0.34, -0.55), (-0.24, -0.15), (-0.8, 1.0), (0.8, 1.0),
        (0.24, -0.15), (0.34, -0.55), (0.24, -1.0), (0.14, -0.75),
        (-0.14, -0.75),
      ),
    ),
    Part("second", polygon((-0.26, -0.15), (0.26, -0.15)), 0.13),
  ]  # fmt: skip
  return parts, _spots((0.0, -0.45), (0.0, 0.25), (0.3, 0.7))


def _shorts():
  parts = [
    Part(
      "body",
      polygon(
        (-0.68, -0.8), (0.68, -0.8), (0.95, 0.75), (0.16, 0.8), (0.0, -0.1),
        (-0.16, 0.8), (-0.95, 0.75),
      ),
    ),
    Part("second", rounded(-0.7, -0.9, 0.7, -0.7, 0.04)),
  ]  # fmt: skip
  return parts, _spots((-0.45, -0.4), (0.5, 0.0), (-0.55, 0.5))


def _sock():
  parts = [
    Part(
      "body",
      smooth(
        (-0.5, -1.0), (0.15, -1.0), (0.15, 0.15), (0.8, 0.5), (0.9, 0.95),
        (0.4, 0.98), (-0.4, 0.7), (-0.5, 0.3), rounds=2,
      ),
    ),
    Part("second", smooth((0.5, 0.4), (0.85, 0.5), (0.92, 0.95), (0.5, 0.95))),
    Part("second", rounded(-0.5, -1.0, 0.14, -0.78, 0.05)),
  ]  # fmt: skip
  return parts, _spots((-0.18, -0.5), (-0.18, -0.05), (0.0, 0.45))


def _hat():
  parts = [
    Part("body", ellipse(0, 0.42, 1.1, 0.34)),
    Part(
      "body",
      smooth(
        (-0.6, 0.42), (-0.55, -0.5), (-0.2, -0.75), (0.2, -0.75), (0.55, -0.5),
        (0.6, 0.42), rounds=2,
      ),
    ),
    Part("second", polygon((-0.56, 0.22), (0.56, 0.22)), 0.18),
  ]  # fmt: skip
  return parts, _spots((0.0, -0.4), (-0.25, -0.1), (0.3, 0.0))


def _tote():
  parts = [
    Part("second", ellipse(0, -0.3, 0.38, 0.68, 180, 360), 0.11),
    Part(
      "body", polygon((-0.75, -0.35), (0.75, -0.35), (0.85, 1.0), (-0.85, 1.0))
    ),
  ]
  return parts, _spots((-0.45, 0.0), (0.0, 0.35), (0.45, 0.7))


def _backpack():
  strap = smooth((-0.6, -0.4), (-0.98, 0.1), (-0.68, 0.8), closed=False)
  parts = [
    Part("second", ellipse(0, -0.8, 0.2, 0.2, 180, 360), 0.09),
    Part("second", strap, 0.15),
    Part("second", strap * [-1, 1], 0.15),
    Part("body", rounded(-0.68, -0.85, 0.68, 0.95, 0.4)),
    Part("main", rounded(-0.48, 0.25, 0.48, 0.8, 0.12)),
    Part("second", polygon((-0.46, 0.38), (0.46, 0.38)), 0.06),
  ]  # fmt: skip
  return parts, _spots((0.0, -0.55), (0.0, -0.15), (0.0, 0.58))


def _umbrella():
  dome = ellipse(0, 0.05, 1.0, 0.85, 180, 360)
  scallops = np.concatenate(
    [ellipse(x, 0.05, 0.25, 0.1, 0, -180) for x in (0.75, 0.25, -0.25, -0.75)]
  )
  hook = smooth(
    (0, 0.0), (0, 0.9), (0.0, 1.05), (0.24, 1.05), (0.24, 0.85), closed=False
  )
  parts = [
    Part("wood", hook, 0.09),
    Part("body", np.concatenate([dome, scallops])),
    Part("second", ellipse(0, 0.05, 0.4, 0.85, 180, 360), 0.04),
    Part("second", polygon((0, -0.8), (0, -1.0)), 0.07),
  ]  # fmt: skip
  return parts, _spots((-0.55, -0.25), (0.0, -0.35), (0.55, -0.25))


def _kite():
  tail = smooth((0, 0.5), (0.3, 0.7), (-0.2, 0.85), (0.3, 1.1), closed=False)
  parts = [
    Part("second", tail, 0.07),
    Part("body", polygon((0, -1.0), (0.75, -0.3), (0, 0.6), (-0.75, -0.3))),
    Part("wood", polygon((0, -1.0), (0, 0.6)), 0.04),
    Part("wood", polygon((-0.75, -0.3), (0.75, -0.3)), 0.04),
  ]
  return parts, _spots((0.0, -0.6), (0.3, -0.3), (0.0, 0.1))


_SHAPES = {
  "mug": _mug,
  "bottle": _bottle,
  "plate": _plate,
  "teapot": _teapot,
  "vase": _vase,
  "lamp": _lamp,
  "clock": _clock,
  "cushion": _cushion,
  "chair": _chair,
  "shirt": _shirt,
  "dress": _dress,
  "shorts": _shorts,
  "sock": _sock,
  "hat": _hat,
  "tote": _tote,
  "backpack": _backpack,
  "umbrella": _umbrella,
  "kite": _kite,
}
