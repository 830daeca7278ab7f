"""Outlines the synthetic products: the painted parts of each kind.

Coordinates are x to the right and y down, the object filling about -1 to 1.
"""

from typing import NamedTuple

import numpy as np

from item_jax.synthetic.curves import (
  Point,
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


def shape(kind: str) -> tuple[list[Part], np.ndarray]:
  """Returns an object's parts, back to front, and three spots for a mark."""
  parts, spots = _SHAPES[kind]
  return parts, np.array(spots, float)


_STRAP = smooth((-0.6, -0.4), (-0.98, 0.1), (-0.68, 0.8), closed=False)
_ANGLES = np.arange(12) * np.pi / 6
_HOURS = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)], 1)  # directions

_SHAPES: dict[str, tuple[list[Part], list[Point]]] = {
  "mug": ([
    Part("second", smooth(  # the handle
      (0.5, -0.35), (1.05, -0.45), (1.05, 0.4), (0.5, 0.35), closed=False,
    ), 0.17),
    Part("body", turned((0.62, -0.8), (0.62, 0.7), (0.52, 0.85))),
    Part("dark", ellipse(0, -0.8, 0.62, 0.1)),
  ], [(-0.3, -0.3), (0.0, 0.1), (0.3, 0.45)]),
  "bottle": ([
    Part("body", turned_smooth(
      (0.2, -0.7), (0.2, -0.45), (0.48, -0.3), (0.48, 0.0), (0.48, 0.98),
      (0.4, 1.0),
    )),
    Part("second", rounded(-0.24, -1.0, 0.24, -0.66, 0.08)),
  ], [(0.0, -0.1), (0.0, 0.3), (0.0, 0.7)]),
  "plate": ([
    Part("body", ellipse(0, 0, 0.98)),
    Part("second", ellipse(0, 0, 0.62)),
    Part("main", ellipse(0, 0, 0.56)),
  ], [(0.0, -0.28), (0.0, 0.0), (0.0, 0.3)]),
  "teapot": ([
    Part("main", smooth(  # the spout
      (-0.5, 0.3), (-0.95, 0.2), (-0.8, -0.3), (-1.2, -0.45), closed=False,
    ), 0.2),
    Part("second", smooth(  # the handle
      (0.55, -0.3), (1.15, -0.4), (1.1, 0.5), (0.55, 0.45), closed=False,
    ), 0.14),
    Part("body", ellipse(0, 0.12, 0.75, 0.66)),
    Part("second", ellipse(0, -0.5, 0.4, 0.13)),
    Part("second", ellipse(0, -0.68, 0.11)),
  ], [(-0.35, 0.1), (0.0, 0.2), (0.35, 0.1)]),
  "vase": ([
    Part("body", turned_smooth(
      (0.36, -1.0), (0.16, -0.75), (0.2, -0.4), (0.75, -0.1), (0.7, 0.6),
      (0.3, 0.9), (0.34, 1.0),
    )),
    Part("second", ellipse(0, -0.98, 0.36, 0.07)),
  ], [(0.0, -0.1), (-0.2, 0.25), (0.0, 0.6)]),
  "lamp": ([
    Part("metal", polygon((0, 0.0), (0, 0.85)), 0.1),
    Part("second", turned((0.12, 0.72), (0.45, 0.9), (0.45, 1.0))),
    Part("body", turned((0.38, -1.0), (0.82, 0.12))),
  ], [(0.0, -0.7), (0.0, -0.35), (0.35, -0.1)]),
  "clock": ([
    Part("body", ellipse(0, 0, 1.0)),
    Part("light", ellipse(0, 0, 0.66)),
    *(Part("dark", np.stack([0.54 * to, 0.61 * to]), 0.05) for to in _HOURS),
    Part("second", polygon((0, 0), (0.3, -0.14)), 0.09),
    Part("second", polygon((0, 0), (-0.12, -0.48)), 0.06),
    Part("dark", ellipse(0, 0, 0.06)),
  ], [(-0.36, 0.12), (0.0, 0.36), (0.36, 0.12)]),
  "cushion": ([
    Part("body", smooth(
      (-1, -0.95), (0, -0.8), (1, -0.95), (0.85, 0), (1, 0.95), (0, 0.8),
      (-1, 0.95), (-0.85, 0), rounds=2,
    )),
    *(
      Part("second", ellipse(x, y, 0.09))
      for x in (-0.82, 0.82)
      for y in (-0.78, 0.78)
    ),
  ], [(-0.45, -0.45), (0.0, 0.0), (0.45, 0.45)]),
  "chair": ([
    *(
      Part("wood", polygon((x, 0.2), (1.15 * x, 1.0)), 0.1)  # the legs
      for x in (-0.5, -0.25, 0.25, 0.5)
    ),
    Part("wood", polygon((-0.5, -0.8), (-0.5, 0.2)), 0.1),
    Part("wood", polygon((0.5, -0.8), (0.5, 0.2)), 0.1),
    Part("body", rounded(-0.56, -1.0, 0.56, -0.12, 0.16)),
    Part("second", polygon(
      (-0.58, 0.1), (0.58, 0.1), (0.7, 0.34), (-0.7, 0.34),
    )),
  ], [(-0.3, -0.74), (0.0, -0.56), (0.3, -0.38)]),
  "shirt": ([
    Part("body", polygon(
      (-0.3, -0.85), (-0.55, -0.8), (-1.1, -0.3), (-0.85, -0.02),
      (-0.58, -0.25), (-0.58, 0.95), (0.58, 0.95), (0.58, -0.25),
      (0.85, -0.02), (1.1, -0.3), (0.55, -0.8), (0.3, -0.85),
    )),
    Part("second", ellipse(0, -0.86, 0.3, 0.24, 0, 180), 0.09),
  ], [(-0.28, -0.3), (0.0, 0.05), (0.3, 0.6)]),
  "dress": ([
    Part("body", polygon(
      (-0.24, -1.0), (-0.34, -0.55), (-0.24, -0.15), (-0.8, 1.0), (0.8, 1.0),
      (0.24, -0.15), (0.34, -0.55), (0.24, -1.0), (0.14, -0.75),
      (-0.14, -0.75),
    )),
    Part("second", polygon((-0.26, -0.15), (0.26, -0.15)), 0.13),
  ], [(0.0, -0.45), (0.0, 0.25), (0.3, 0.7)]),
  "shorts": ([
    Part("body", polygon(
      (-0.68, -0.8), (0.68, -0.8), (0.95, 0.75), (0.16, 0.8), (0.0, -0.1),
      (-0.16, 0.8), (-0.95, 0.75),
    )),
    Part("second", rounded(-0.7, -0.9, 0.7, -0.7, 0.04)),
  ], [(-0.45, -0.4), (0.5, 0.0), (-0.55, 0.5)]),
  "sock": ([
    Part("body", smooth(
      (-0.5, -1.0), (0.15, -1.0), (0.15, 0.15), (0.8, 0.5), (0.9, 0.95),
      (0.4, 0.98), (-0.4, 0.7), (-0.5, 0.3), rounds=2,
    )),
    Part("second", smooth((0.5, 0.4), (0.85, 0.5), (0.92, 0.95), (0.5, 0.95))),
    Part("second", rounded(-0.5, -1.0, 0.14, -0.78, 0.05)),
  ], [(-0.18, -0.5), (-0.18, -0.05), (0.0, 0.45)]),
  "hat": ([
    Part("body", ellipse(0, 0.42, 1.1, 0.34)),
    Part("body", smooth(
      (-0.6, 0.42), (-0.55, -0.5), (-0.2, -0.75), (0.2, -0.75), (0.55, -0.5),
      (0.6, 0.42), rounds=2,
    )),
    Part("second", polygon((-0.56, 0.22), (0.56, 0.22)), 0.18),
  ], [(0.0, -0.4), (-0.25, -0.1), (0.3, 0.0)]),
  "tote": ([
    Part("second", ellipse(0, -0.3, 0.38, 0.68, 180, 360), 0.11),
    Part("body", polygon(
      (-0.75, -0.35), (0.75, -0.35), (0.85, 1.0), (-0.85, 1.0),
    )),
  ], [(-0.45, 0.0), (0.0, 0.35), (0.45, 0.7)]),
  "backpack": ([
    Part("second", ellipse(0, -0.8, 0.2, 0.2, 180, 360), 0.09),
    Part("second", _STRAP, 0.15),
    Part("second", _STRAP * [-1, 1], 0.15),
    Part("body", rounded(-0.68, -0.85, 0.68, 0.95, 0.4)),
    Part("main", rounded(-0.48, 0.25, 0.48, 0.8, 0.12)),
    Part("second", polygon((-0.46, 0.38), (0.46, 0.38)), 0.06),
  ], [(0.0, -0.55), (0.0, -0.15), (0.0, 0.58)]),
  "umbrella": ([
    Part("wood", smooth(  # the hook
      (0, 0.0), (0, 0.9), (0.0, 1.05), (0.24, 1.05), (0.24, 0.85), closed=False,
    ), 0.09),
    Part("body", np.concatenate([  # a dome, and scallops below it
      ellipse(0, 0.05, 1.0, 0.85, 180, 360),
      *(
        ellipse(x, 0.05, 0.25, 0.1, 0, -180)
        for x in (0.75, 0.25, -0.25, -0.75)
      ),
    ])),
    Part("second", ellipse(0, 0.05, 0.4, 0.85, 180, 360), 0.04),
    Part("second", polygon((0, -0.8), (0, -1.0)), 0.07),
  ], [(-0.55, -0.25), (0.0, -0.35), (0.55, -0.25)]),
  "kite": ([
    Part("second", smooth(  # the tail
      (0, 0.5), (0.3, 0.7), (-0.2, 0.85), (0.3, 1.1), closed=False,
    ), 0.07),
    Part("body", polygon((0, -1.0), (0.75, -0.3), (0, 0.6), (-0.75, -0.3))),
    Part("wood", polygon((0, -1.0), (0, 0.6)), 0.04),
    Part("wood", polygon((-0.75, -0.3), (0.75, -0.3)), 0.04),
  ], [(0.0, -0.6), (0.3, -0.3), (0.0, 0.1)]),
}  # fmt: skip
