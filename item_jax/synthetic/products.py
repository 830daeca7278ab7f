"""Draws the attributes of synthetic products from a seed and an index.

A product has thirteen attributes. Image and title show five of them both, four
are visible in images only and four are named in titles only. Products come in
families, grown by changing one attribute of an earlier member, so that products
which almost match are common.
"""

import functools
from typing import NamedTuple

import numpy as np


class Product(NamedTuple):
  """The attributes of a product, the same for all of its listings."""

  kind: str  # a key of KINDS
  brand: str  # a key of BRANDS; a word in titles, a mark in images
  colour: str  # one of COLOURS
  second: str  # one of COLOURS, never `colour`
  pattern: str  # one of PATTERNS
  scale: int  # 0 fine, 1 middle, 2 coarse; 0 where the pattern is plain
  place: int  # 0..2, where on the object the brand's mark is
  form: int  # 0 slim, 1 regular, 2 wide
  trim: int  # 0 none, 1 a band at the top, 2 a band at the bottom
  material: str  # one of KINDS[kind].materials
  size: str  # one of KINDS[kind].sizes
  line: str  # one of LINES
  code: str  # one of CODES


IMAGE_ONLY = ("scale", "place", "form", "trim")
TITLE_ONLY = ("material", "size", "line", "code")

FAMILY = 24  # products grown from one design


class Kind(NamedTuple):
  """A leaf category and what its products can be."""

  category: str  # path, levels joined by " > "
  materials: tuple[str, ...]
  sizes: tuple[str, ...]


def _in(unit, *numbers):
  return tuple(f"{number} {unit}" for number in numbers)


_POTTERY = ("ceramic", "stoneware", "porcelain", "glass")
_CLOTH = ("cotton", "linen", "wool", "polyester")
_SOLID = ("wood", "steel", "plastic", "bamboo")
_WORN = ("small", "medium", "large", "extra large")
_KITCHEN, _LIVING = "Home > Kitchen > ", "Home > Living > "
_CLOTHING, _EXTRA = "Fashion > Clothing > ", "Fashion > Accessories > "

KINDS = {
  "mug": Kind(_KITCHEN + "Mugs", _POTTERY, _in("ml", 250, 330, 400, 500)),
  "bottle": Kind(_KITCHEN + "Bottles", _SOLID, _in("ml", 350, 500, 750, 900)),
  "plate": Kind(_KITCHEN + "Plates", _POTTERY, _in("cm", 18, 22, 26, 30)),
  "teapot": Kind(_KITCHEN + "Teapots", _POTTERY, _in("ml", 600, 700, 800, 950)),
  "vase": Kind(_LIVING + "Vases", _POTTERY, _in("cm", 15, 20, 25, 32)),
  "lamp": Kind(_LIVING + "Lamps", _SOLID, _in("cm", 28, 35, 42, 55)),
  "clock": Kind(_LIVING + "Clocks", _SOLID, _in("cm", 20, 25, 30, 40)),
  "cushion": Kind(_LIVING + "Cushions", _CLOTH, _in("cm", 30, 40, 45, 60)),
  "chair": Kind("Home > Furniture > Chairs", _SOLID, _in("cm", 42, 45, 48, 52)),
  "shirt": Kind(_CLOTHING + "T-shirts", _CLOTH, _WORN),
  "dress": Kind(_CLOTHING + "Dresses", _CLOTH, _WORN),
  "shorts": Kind(_CLOTHING + "Shorts", _CLOTH, _WORN),
  "sock": Kind(_CLOTHING + "Socks", _CLOTH, _WORN),
  "hat": Kind(_EXTRA + "Hats", _CLOTH, _WORN),
  "tote": Kind(_EXTRA + "Bags", _CLOTH, _in("l", 8, 12, 16, 20)),
  "backpack": Kind(_EXTRA + "Backpacks", _CLOTH, _in("l", 14, 18, 24, 30)),
  "umbrella": Kind(_EXTRA + "Umbrellas", _CLOTH, _in("cm", 90, 100, 110, 125)),
  "kite": Kind("Toys > Kites", _CLOTH, _in("cm", 60, 80, 110, 140)),
}  # fmt: skip

COLOURS = (
  "black", "white", "grey", "red", "blue", "green", "yellow", "pink", "purple",
  "brown",
)  # fmt: skip
_COLOUR_RATES = np.array([5, 4, 3, 3, 4, 3, 2, 2, 2, 2]) / 30

PATTERNS = ("plain", "stripes", "pinstripes", "dots", "check", "zigzag")
_PATTERN_RATES = np.array([5, 2, 2, 2, 2, 2]) / 15

BRANDS = {  # word in the title -> mark on the object
  "Orvelk": "disc",
  "Tavzin": "ring",
  "Quivvo": "triangle",
  "Nardyl": "square",
  "Fexlo": "diamond",
  "Lumrix": "cross",
  "Pavrik": "star",
  "Zendrik": "bars",
  "Mirlu": "heart",
  "Kosgrel": "moon",
}

LINES = ("Nova", "Classic", "Alto", "Breeze", "Terra", "Urban", "Duo", "Pure")
CODES = tuple(f"{letter}{n}" for letter in "ABKTX" for n in (10, 20, 30, 50))

# How often a new member of a family changes an attribute. Most changes are to
# attributes that only titles name: products that look the same are common, and
# titles leave out more than images hide.
_CHANGES = {
  "size": 5.0,
  "material": 4.0,
  "line": 3.0,
  "code": 1.0,
  "colour": 3.0,
  "pattern": 1.0,
  "second": 1.0,
  "scale": 1.5,
  "place": 1.5,
  "form": 1.0,
  "trim": 1.0,
}


def stream(seed: int, purpose: int, *path: int) -> np.random.Generator:
  """Makes a random number generator that depends only on these integers."""
  sequence = np.random.SeedSequence(seed, spawn_key=(purpose, *path))
  return np.random.Generator(np.random.Philox(sequence))


def sample_product(seed: int, index: int) -> Product:
  """Returns product `index` of the catalogue `seed`, whatever its size."""
  family, member = divmod(index, FAMILY)
  return grow_family(seed, family)[0][member]


@functools.lru_cache(maxsize=4)  # members are looked up one after another
def grow_family(
  seed: int, family: int
) -> tuple[tuple[Product, ...], tuple[int, ...]]:
  """Grows a family of FAMILY different products.

  Returns:
    The products, and the index of the earlier one that each was made from: the
    two differ in exactly one attribute. The first one has -1.
  """
  rng = stream(seed, 0, family)
  members, parents = [_draw_design(rng)], [-1]
  while len(members) < FAMILY:
    parent = int(rng.integers(len(members)))
    child = _change_one(members[parent], rng)
    if child not in members:
      members.append(child)
      parents.append(parent)
  return tuple(members), tuple(parents)


def variants(seed: int, family: int) -> list[tuple[int, int, str]]:
  """Lists the pairs of a family's members that differ in one attribute only.

  Returns:
    (one, other, "WHERE > ATTRIBUTE") by their numbers in the family; WHERE says
    what shows the attribute: "photo", "title" or "both", as variants.csv does.
  """
  members, _ = grow_family(seed, family)
  table = np.array(members, dtype=object)
  differ = table[:, None] != table  # [member, member, attribute]
  found = []
  for one, other in np.argwhere(np.triu(differ.sum(-1) == 1)).tolist():
    (name,) = np.array(Product._fields)[differ[one, other]].tolist()
    found.append((one, other, f"{_shown_by(name)} > {name}"))
  return found


def _shown_by(name):
  if name in IMAGE_ONLY:
    return "photo"
  return "title" if name in TITLE_ONLY else "both"


def count_listings(seed: int, index: int) -> int:
  """Draws how many listings a product has: 2 to 6, on average 3.5."""
  rates = [0.3, 0.25, 0.2, 0.15, 0.1]
  return 2 + int(stream(seed, 1, index).choice(5, p=rates))


def _draw_design(rng):
  kind = _pick(rng, tuple(KINDS))
  colour, second = rng.choice(COLOURS, 2, replace=False, p=_COLOUR_RATES)
  pattern = str(rng.choice(PATTERNS, p=_PATTERN_RATES))
  scale, place, form, trim = rng.integers(0, 3, 4).tolist()
  return Product(
    kind=kind,
    brand=_pick(rng, tuple(BRANDS)),
    colour=str(colour),
    second=str(second),
    pattern=pattern,
    scale=0 if pattern == "plain" else scale,
    place=place,
    form=form,
    trim=trim,
    material=_pick(rng, KINDS[kind].materials),
    size=_pick(rng, KINDS[kind].sizes),
    line=_pick(rng, LINES),
    code=_pick(rng, CODES),
  )


def _change_one(product, rng):
  """Returns the product with one attribute drawn anew, maybe unchanged."""
  rates = np.array(list(_CHANGES.values())) / sum(_CHANGES.values())
  name = str(rng.choice(tuple(_CHANGES), p=rates))
  plain = product.pattern == "plain"
  values = {
    "size": KINDS[product.kind].sizes,
    "material": KINDS[product.kind].materials,
    "line": LINES,
    "code": CODES,
    "colour": [value for value in COLOURS if value != product.second],
    "second": [value for value in COLOURS if value != product.colour],
    # A plain product has no scale: plain and patterned would differ in two.
    "pattern": PATTERNS[:1] if plain else PATTERNS[1:],
    "scale": (0,) if plain else (0, 1, 2),
    "place": (0, 1, 2),
    "form": (0, 1, 2),
    "trim": (0, 1, 2),
  }[name]
  return product._replace(**{name: _pick(rng, values)})


def _pick(rng, values):
  return values[rng.integers(len(values))]
